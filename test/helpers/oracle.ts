import type { Feeds } from '../../src/data/types.ts';
import type { Model } from '../../src/graph/model.ts';
import { initializers, modelInputs } from '../../src/graph/query.ts';
import { tensorNumbers, typeOf } from '../../src/graph/tensor.ts';
import { repairAllocator } from '../../src/passes/allocate/repair.ts';
import { encoder } from '../../src/passes/encode/encode.ts';
import type { Pass, PassContext, PassResult } from '../../src/passes/pass.ts';
import { dynamicQuantizer } from '../../src/passes/quantize/dynamic.ts';
import { float16Quantizer } from '../../src/passes/quantize/float16.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { weightsOnlyQuantizer } from '../../src/passes/quantize/weights_only.ts';
import { adaround } from '../../src/passes/recover/adaround.ts';
import { biasCorrection } from '../../src/passes/recover/bias_correction.ts';
import { gptqRounding } from '../../src/passes/recover/gptq.ts';
import { weightScale } from '../../src/passes/recover/weight_scale.ts';
import { saturates } from '../../src/runtime/processor.ts';
import { runModel } from './context.ts';
import { snr } from './quality.ts';

/** dB that the levels may differ by, and above which rounding alone makes differences: MatMulNBits takes its inputs to 8 bits (46 dB). */
const [allowed, negligible] = [1, 40];

/** Numbers of which a ratio of energies says something. */
const fewest = 16;

/** How far a quantized model's two levels of optimization are apart, in words; undefined where they agree. */
export async function disagreement(float: Model, quantized: Model, feeds: Feeds): Promise<string | undefined> {
  const numbers = async (model: Model, level: 'disabled' | 'all') => {
    const outputs = await runModel(model, feeds, level);
    const all = float.graph.output.map(({ name }) => outputs[name]?.data);
    return Float32Array.from(all.flatMap((data) => (data instanceof Float32Array ? [...data] : [])));
  };
  const expected = await numbers(float, 'disabled');
  // The noise of a few numbers is chance: of two roundings one is better.
  if (expected.length < fewest) return undefined;
  const at = async (level: 'disabled' | 'all') => snr(expected, await numbers(quantized, level));
  const [off, on] = [await at('disabled'), await at('all')];
  const apart = Math.abs(Math.min(off, negligible) - Math.min(on, negligible));
  // NaN: outputs without power, or of no floats.
  return apart > allowed ? `${off.toFixed(1)} dB unoptimized, ${on.toFixed(1)} dB optimized` : undefined;
}

/** Two products of a byte with codes of at most 64 stay below 2¹⁵, so that no kernel saturates. */
export const cannotSaturate = (model: Model): boolean =>
  [...initializers(model.graph).values()].every(
    (tensor) => typeOf(tensor) !== 'int8' || tensorNumbers(tensor).every((code) => Math.abs(code) <= 64),
  );

let checked = 0;
/** Models that were run at both levels so far in this file of tests. */
export const checkedModels = (): number => checked;

async function check(pass: string, { model, twin }: PassResult, ctx: PassContext): Promise<void> {
  const float = twin ?? ctx.twin;
  if (!float || float === model) return;
  const feeds = await firstInputs(float, ctx);
  if (feeds === undefined || !fits(float, feeds)) return;
  checked++;
  const wrong = await disagreement(float, model, feeds);
  if (wrong !== undefined) throw new Error(`${pass} made a model that its optimization changes: ${wrong}`);
}

/** A batch cut to its real rows is none for a model of fixed batch. */
const fits = (model: Model, feeds: Feeds): boolean =>
  modelInputs(model).every(
    ({ name, dims }) => dims?.every((d, i) => typeof d !== 'number' || d === feeds[name]?.dims[i]) ?? true,
  );

/** The inputs of the first calibration batch; undefined where the context has none. */
async function firstInputs(float: Model, ctx: PassContext): Promise<Feeds | undefined> {
  const stored = initializers(float.graph);
  const names = float.graph.input.map(({ name }) => name).filter((name) => !stored.has(name));
  // A test's own batches where it has any: asking the context would count among what the pass asks.
  const own = (ctx as { readonly batches?: readonly Feeds[] }).batches;
  if (own) return own[0];
  for await (const feeds of ctx.capture(float, names, 1)) return feeds;
  return undefined;
}

const seven = { bits_weights: 7 };

/** Lets every application of a pass that makes or changes quantized models be followed by a run of the result at both levels. */
export function watch(): void {
  const watched = <O>(pass: Pass<O>, narrower?: (options: O) => O): void => {
    const apply = pass.apply.bind(pass);
    Object.assign(pass, {
      apply: async (model: Model, options: O, ctx: PassContext): Promise<PassResult> => {
        const result = await apply(model, options, ctx);
        if (cannotSaturate(result.model) || !(await saturates())) await check(pass.name, result, ctx);
        // Where 8 bits saturate, the same model is judged at 7: what is wrong with it but for that is wrong there too.
        else if (narrower)
          await check(`${pass.name} (at 7 bits)`, await apply(model, narrower(options), unremembered(ctx)), ctx);
        return result;
      },
    });
  };
  const narrow = <O extends { readonly overrides: Readonly<Record<string, object>> }>(o: O): O => ({
    ...o,
    ...seven,
    overrides: Object.fromEntries(
      Object.entries(o.overrides).map(([key, own]) => [
        key,
        'bits_weights' in own && own.bits_weights === 8 ? { ...own, ...seven } : own,
      ]),
    ),
  });
  watched(staticQuantizer, narrow);
  watched(dynamicQuantizer, narrow);
  for (const pass of [weightsOnlyQuantizer, float16Quantizer] as Pass[]) watched(pass);
  for (const pass of [adaround, gptqRounding, biasCorrection, weightScale, encoder, repairAllocator] as Pass[])
    watched(pass);
}

/** A context whose memory the second application does not touch. */
const unremembered = (ctx: PassContext): PassContext =>
  Object.defineProperties({} as PassContext, {
    ...Object.getOwnPropertyDescriptors(ctx),
    memory: { value: new Map(), enumerable: true },
    plan: { value: new Map(), enumerable: true },
  });
