import { graphWriter } from '../../../autodiff/writer.ts';
import { makeModel, makeValue } from '../../../graph/build.ts';
import type { Layer } from '../../../graph/layer.ts';
import type { Model } from '../../../graph/model.ts';
import { initializers } from '../../../graph/query.ts';
import { dimsOf, floatData, makeTensor } from '../../../graph/tensor.ts';
import type { QuantParams } from '../../../numerics/format.ts';
import { leastWeightScale } from '../../../numerics/quantize.ts';
import { given, must } from '../../../util/must.ts';
import type { HeldLayer, Note, PassContext } from '../../pass.ts';
import { withWeights } from '../../prune/masks.ts';
import { insertQdq, type HeldCodes, type StoredWeight } from '../../quantize/insert.ts';
import { inputParams, scaleAxis } from '../../quantize/params.ts';
import type { Region } from '../../quantize/region.ts';
import { weightKey } from '../../quantize/targets.ts';
import type { EpochLearner } from '../plan.ts';
import { byChannel, largest, mostCode, type WeightFacts } from '../surrogate/surrogate.ts';
import { valueRounder, weightRounder, zerosKept, type Dressed } from './dressed.ts';
import { lastNumbers, type KeptNumbers } from './found.ts';
import { learningPlaces, type WeightPlace } from './places.ts';

/** Codes farther than this from a whole number, in steps, are no codes. */
const wholeEnough = 0.01;

/**
 * The model that training has led to: weights as the training graph rounds them, batch norms folded into them, and integer kernels where onnxruntime has
 * them, with the scales that were learned. Layers whose weights alone are rounded keep them as float numbers of few values.
 */
export async function quantizedModel(
  model: Model,
  learner: EpochLearner,
  { weights, unsigned }: Pick<Dressed, 'weights' | 'unsigned'>,
  kept: KeptNumbers,
  ctx: PassContext,
) {
  const { rounded, steps } = await roundedWeights(model, weights, learner, kept, ctx);
  const placeOf = (layer: Layer): WeightPlace => given(weights.find(({ readers }) => readers.has(layer.name)), layer.name); // prettier-ignore
  const stepsOf = (layer: Layer): Float32Array | undefined => {
    const { tensor } = placeOf(layer);
    return foldedSteps(layer, must(rounded, tensor, 'the weight'), steps.get(tensor));
  };
  const exact = withWeights(model, rounded);
  let places = await learningPlaces(exact, learner, ctx);
  const unfit = new Map(places.kernels.flatMap((layer): [string, string][] => {
    const why = uncodable(layer, stepsOf(layer));
    return why === undefined ? [] : [[layer.name, why]];
  })); // prettier-ignore
  if (unfit.size > 0) places = await learningPlaces(exact, learner, ctx, unfit);
  const { folded, region, kernels, alone, formatOf, values } = places;
  const params = new Map<string, QuantParams>();
  const codes = new Map<string, HeldCodes>();
  for (const [value, held] of values) {
    const facts = { data: new Float32Array(), dims: [], unsigned: unsigned.get(value) === true };
    const rounder = valueRounder(learner, held, facts);
    const { scale, zeroPoint, step, codes: own } = rounder.affine(facts, (name) => kept(value, name));
    if (own ?? rounder.bits < 8) codes.set(value, { ...(own ?? { high: 2 ** rounder.bits - 1 }), step });
    params.set(value, {
      format: { kind: 'int', bits: rounder.bits, signed: false, symmetric: false },
      granularity: { per: 'tensor' },
      scale: Float32Array.of(scale),
      zeroPoint: Int32Array.of(zeroPoint),
    });
  }
  const stored = storedWeights(kernels, region, params, stepsOf);
  const made = insertQdq(folded, { region, tables: [], stored, params, alone: [], relus: new Set(), formatOf, scales: 'minmax', codes }); // prettier-ignore
  const activationLabel = (layer: Layer): string => {
    const { root } = must(region.values, layer.node.input[layer.product.data] ?? '', 'the input of');
    return codes.get(root)?.step === undefined ? `uint${must(params, root, 'the range of').format.bits}` : 'sign';
  };
  const held = new Map<string, HeldLayer>([...kernels, ...alone].map((layer) => {
    const bits = placeOf(layer).bits;
    return [layer.name, { weights: { label: weightRounder(learner, { bits }).label ?? `int${bits}`, bits }, ...(region.nodes.has(layer.node) ? { activations: activationLabel(layer) } : {}) }];
  })); // prettier-ignore
  const weightsAlone: Note[] = alone.map((layer) => ({ layer: layer.name, text: `weights of ${placeOf(layer).bits} bits, as float numbers; activations float` })); // prettier-ignore
  return {
    model: made.model,
    twin: folded,
    held,
    changed: [...made.changed, ...weightsAlone],
    skipped: places.skipped,
  };
}

/** The weights as the training graph rounds them, computed by the same nodes; and their steps, one a channel. */
async function roundedWeights(
  model: Model,
  places: readonly WeightPlace[],
  learner: EpochLearner,
  kept: KeptNumbers,
  ctx: PassContext,
) {
  const tensors = initializers(model.graph);
  const w = graphWriter(new Set(tensors.keys()));
  const held: ReturnType<typeof makeTensor>[] = [];
  const made = new Map<string, string>();
  const steps = new Map<string, Float32Array | undefined>();
  for (const place of places) {
    const stored = must(tensors, place.tensor, 'the weight');
    const facts: WeightFacts = { data: floatData(stored), dims: dimsOf(stored), axis: place.axis };
    const rounder = weightRounder(learner, place);
    held.push(makeTensor(place.tensor, 'float32', facts.dims, facts.data));
    const numbers = lastNumbers(facts, rounder.found, (name) => kept(place.tensor, name));
    const values = new Map(rounder.keeps(facts).map(({ name, dims }) => {
      const at = w.fresh(`${place.tensor}_${name}`);
      held.push(makeTensor(at, 'float32', dims, numbers(name)));
      return [name, { name: at, dims }];
    })); // prettier-ignore
    const x = { name: place.tensor, dims: facts.dims };
    const { y } = zerosKept(
      w,
      x,
      rounder.write(w, x, (name) => must(values, name, 'the number'), facts),
    );
    made.set(place.tensor, y.name);
    steps.set(place.tensor, rounder.step?.(facts, numbers));
  }
  if (made.size === 0) return { rounded: new Map<string, Float32Array>(), steps };
  const graph = makeModel({
    opset: 18,
    inputs: [],
    outputs: [...made].map(([tensor, y]) => makeValue(y, 'float32', dimsOf(must(tensors, tensor, 'the weight')))),
    nodes: w.nodes,
    initializers: [...held, ...w.tensors],
  });
  const results = await ctx.compute(graph, {});
  const rounded = new Map([...made].map(([tensor, y]) => [tensor, given(results[y], y).data as Float32Array]));
  return { rounded, steps };
}

/** A layer's weights, one array an output channel. */
const channelsOf = ({ weight }: Layer): Float32Array[] => byChannel({ data: floatData(weight.tensor), dims: weight.dims, axis: scaleAxis(weight) }); // prettier-ignore

/**
 * The steps of a layer's weights in the folded model: those that were trained, times what its batch norm multiplies each channel by.
 * @param rounded its weights before folding; `own`: the steps that they are on.
 */
function foldedSteps(layer: Layer, rounded: Float32Array, own: Float32Array | undefined): Float32Array | undefined {
  if (!own) return undefined;
  const after = channelsOf(layer);
  const before = byChannel({ data: rounded, dims: layer.weight.dims, axis: scaleAxis(layer.weight) });
  return Float32Array.from(before, (part, c) => {
    const [was, is] = [largest(part), largest(given(after[c], layer.name))];
    const step = own[own.length === 1 ? 0 : c]!;
    return was === 0 || is === 0 ? step : step * (is / was);
  });
}

function uncodable(layer: Layer, scale: Float32Array | undefined): string | undefined {
  if (!scale || scale.some(Number.isNaN)) return 'its levels are no multiples of a step, which integer kernels take';
  const bad = channelsOf(layer).some((part, c) =>
    part.some((v) => {
      const code = v / scale[c]!;
      return Math.abs(code) > mostCode + wholeEnough || Math.abs(code - Math.round(code)) > wholeEnough;
    }),
  );
  return bad ? 'what was folded into its weights took them off their steps' : undefined;
}

/** Largest codes whose products with 8-bit activations onnxruntime adds up right on processors that saturate sums of two. */
const safeCode = 64;

/**
 * Scales of the kernels' weights. Biases are stored as multiples of input scale · weight scale, which is coarse where both have few codes: codes are as
 * large as bytes allow, whole multiples of those that were trained, and the scale as fine. It is coarser than the step only for a channel whose
 * bias int32 would not hold, beside which its weights are nothing.
 */
function storedWeights(
  kernels: readonly Layer[],
  region: Region,
  params: ReadonlyMap<string, QuantParams>,
  stepsOf: (layer: Layer) => Float32Array | undefined,
): StoredWeight[] {
  const groups = new Map(kernels.map((layer) => [weightKey(layer, layer.name), layer]));
  return [...groups.values()].map((layer) => {
    const axis = scaleAxis(layer.weight);
    const bias = layer.bias && floatData(layer.bias);
    const input = inputParams(layer, region, params);
    const steps = given(stepsOf(layer), layer.name);
    const most = channelsOf(layer).reduce((m, part, c) => Math.max(m, Math.round(largest(part) / steps[c]!)), 1);
    const finer = Math.max(1, Math.floor((input.format.bits < 8 ? mostCode : safeCode) / most));
    const scale = steps.map((step, c) =>
      bias
        ? Math.max(step / finer, leastWeightScale(Math.abs(axis === undefined ? largest(bias) : bias[c]!), input.scale[0]!)) // prettier-ignore
        : step / finer,
    );
    return {
      layers: [layer],
      params: {
        format: { kind: 'int', bits: 8, signed: true, symmetric: true, narrow: true },
        granularity: axis === undefined ? { per: 'tensor' } : { per: 'channel', axis },
        scale,
        zeroPoint: new Int32Array(scale.length),
      },
    };
  });
}
