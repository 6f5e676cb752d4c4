import type { Surrogate } from '../../../autodiff/surrogate.ts';
import { buildTraining, type Loss, type TrainingGraph } from '../../../autodiff/training_graph.ts';
import {
  add,
  graphWriter,
  mul,
  positive,
  scaled,
  sub,
  type GraphWriter,
  type Value,
} from '../../../autodiff/writer.ts';
import type { Feeds } from '../../../data/types.ts';
import { makeNode, makeValue } from '../../../graph/build.ts';
import { edit } from '../../../graph/edit.ts';
import type { Model } from '../../../graph/model.ts';
import { layerName } from '../../../graph/query.ts';
import type { Shapes } from '../../../graph/shapes.ts';
import { elementCount, makeTensor } from '../../../graph/tensor.ts';
import { given, must } from '../../../util/must.ts';
import type { PassContext } from '../../pass.ts';
import { replaceInput } from '../../quantize/qdq.ts';
import { biasValues, type QuantizedLayer } from '../../recover/sites.ts';
import { squaredError, wantedInput } from '../loss/mse.ts';
import { adam } from '../optimizer/adam.ts';
import { prepareTraining } from '../prepared.ts';
import { writeSteps } from '../surrogate/lsq.ts';
import { roundingPenalty, writeRelaxed, type RelaxedWeights } from './relaxed.ts';
import { roundings } from './roundings.ts';

/** How far a step of Adam moves a scale or bias that is learned: this share of it, where V moves by one. */
const share = 0.1;

/** What a block's training is written from. */
export interface BlockPlan {
  readonly weights: readonly RelaxedWeights[];
  /** Scales of activations that are learned, by their initializer. */
  readonly scales: ReadonlySet<string>;
  /** Whether biases follow. */
  readonly bias: boolean;
  /** Whether activations are mixed with float ones. */
  readonly mixed: boolean;
  /** The block's inputs. */
  readonly inputs: ReadonlySet<string>;
  /** The mean square of what each output should be. */
  readonly power: ReadonlyMap<string, number>;
  /** Numbers of a position of an output: the loss is summed over them. */
  readonly channels: (output: string, dims: readonly number[]) => number;
}

/** A step of a block's training as one graph. */
export interface BlockGraph {
  readonly graph: TrainingGraph;
  /** The input that β is fed to. */
  readonly beta: string;
  /** Inputs that say where a rounded activation is taken: true; false takes the float one. */
  readonly masks: readonly { readonly name: string; readonly dims: readonly number[] }[];
  /** The block's inputs whose float values are fed too: input → where. */
  readonly floats: ReadonlyMap<string, string>;
  /** Parameters: V of each layer by its name; relative changes of scales by initializer, biases by layer. */
  readonly v: ReadonlyMap<string, string>;
  readonly scales: ReadonlyMap<string, string>;
  readonly biases: ReadonlyMap<string, { readonly name: string; readonly unit: number }>;
}

/** What a scale or a bias is after training, of the change that was learned. */
export const learnedScale = (scale: number, change: number): number => scale * (1 + share * change);
export const learnedBias = (change: number, unit: number): number => unit * share * change;

/**
 * The error of a block's outputs, Σ over a position's numbers of (y − t)² in units of the mean square of t, averaged over samples and
 * positions: as in Li et al. 2021, but for the unit, so that λ means the same for every block.
 */
const blockError = ({ power, channels }: BlockPlan): { loss: Loss; beta: () => Value } => {
  let beta: Value | undefined;
  const loss: Loss = {
    write(w, outputs, input) {
      beta = input(w.fresh('beta'), 'float32', []);
      const terms = [...outputs].map(([name, y]) => {
        const factor = channels(name, y.dims) / must(power, name, 'the power of');
        const { loss: error, seed } = squaredError(w, y, input(wantedInput(name), 'float32', y.dims));
        return { name, error: scaled(w, error, factor), seed: scaled(w, seed, factor) };
      });
      const error = terms.map((term) => term.error).reduce((a, b) => add(w, a, b));
      return { loss: error, seeds: new Map(terms.map(({ name, seed }) => [name, seed])), counts: new Map([['error', error]]) }; // prettier-ignore
    },
  };
  return { loss, beta: () => given(beta, 'the exponent of the rounding penalty') };
};

/**
 * The graph of one training step of a block for batches of this size.
 * @param part the block as it is quantized now.
 * @throws QtoolError('graph') naming an operator that gradients do not go through.
 */
export async function blockGraph(part: Model, batch: Feeds, plan: BlockPlan, ctx: PassContext): Promise<BlockGraph> {
  const { model: plain, shapes } = await prepareTraining(part, batch, ctx);
  const written = write(plain, shapes, plan);
  const { masks, floats } = written;
  const feeds: Feeds = {
    ...batch,
    ...Object.fromEntries(masks.map(({ name, dims }) => [name, { type: 'bool', dims, data: new Uint8Array(elementCount(dims)) }])), // prettier-ignore
    ...Object.fromEntries([...floats].map(([input, name]) => [name, given(batch[input], input)])),
  };
  const all = await ctx.shapes(written.model, feeds);
  const { loss, beta } = blockError(plan);
  const v = [...written.v.values()];
  const graph = buildTraining(written.model, all, {
    trainable: [...v, ...written.scales.values(), ...[...written.biases.values()].map(({ name }) => name)],
    loss,
    optimizer: adam(),
    surrogates: written.surrogates,
    penalties: new Map(v.map((name) => [name, [roundingPenalty('lambda', beta)]])),
  });
  return { graph, beta: beta().name, masks, floats, v: written.v, scales: written.scales, biases: written.biases };
}

/** The block with relaxed weights, and with roundings of values that gradients go through. */
function write(plain: Model, shapes: Shapes, plan: BlockPlan) {
  const taken = new Set([...shapes.keys(), ...plain.graph.node.flatMap(({ output }) => output)]);
  const w = graphWriter(taken);
  const surrogates = new Map<string, Surrogate>();
  const masks: { name: string; dims: readonly number[] }[] = [];
  const [v, scales, floats] = [new Map<string, string>(), new Map<string, string>(), new Map<string, string>()];
  const biases = new Map<string, { name: string; unit: number }>();
  const nodes = new Map(plain.graph.node.map((node) => [layerName(node), node]));
  const outputs = new Set(plain.graph.output.map(({ name }) => name));
  const model = edit(plain, (draft) => {
    const stored = (hint: string, data: Float32Array, dims: readonly number[]): Value => ({ name: draft.add(hint, makeTensor('', 'float32', dims, data)), dims }); // prettier-ignore
    for (const { layer, lower, gap, first } of plan.weights) {
      const node = must(nodes, layer.name, 'the layer');
      const own = stored(`${layer.name}_v`, first, layer.dims);
      v.set(layer.name, own.name);
      const soft = writeRelaxed(w, own, w.floats(lower, layer.dims), w.floats(gap, layer.dims));
      replaceInput(draft, node, 1, soft.name);
      const bias = plan.bias ? biasUnit(layer) : undefined;
      if (!bias) continue;
      const change = stored(`${layer.name}_b`, new Float32Array(bias.values.length), [bias.values.length]);
      biases.set(layer.name, { name: change.name, unit: bias.unit });
      const next = add(w, w.floats(bias.values, change.dims), scaled(w, change, bias.unit * share));
      replaceInput(draft, node, 2, next.name);
    }
    for (const one of roundings(plain)) {
      const { value, restored, scaleName } = one;
      const { dims } = must(shapes, value, 'the shape of');
      let held: Value;
      if (plan.scales.has(scaleName)) {
        const change = scales.get(scaleName) ?? stored(`${scaleName}_change`, new Float32Array(1), []).name;
        scales.set(scaleName, change);
        const factor = add(w, scaled(w, { name: change, dims: [] }, share), w.scalar(1));
        const { y, surrogate } = writeSteps(w, { name: value, dims }, scaled(w, factor, one.scale), one, elementCount(dims.slice(1))); // prettier-ignore
        surrogates.set(y.name, surrogate);
        held = y;
      } else {
        surrogates.set(restored, straightThrough({ name: value, dims }, one.low * one.scale, one.high * one.scale));
        held = { name: restored, dims };
      }
      // An output of the model is what the file gives; nothing is mixed there.
      const before = outputs.has(restored) || !plan.mixed ? held : mixed(w, held);
      if (before.name !== restored) draft.rewire(restored, before.name);
      function mixed(writer: GraphWriter, rounded: Value): Value {
        const mask = { name: draft.freshName(`${value}_mask`), dims };
        masks.push(mask);
        draft.addInput(makeValue(mask.name, 'bool', dims));
        let float = { name: value, dims };
        if (plan.inputs.has(value)) {
          const name = floats.get(value) ?? draft.freshName(`${value}_float`);
          if (!floats.has(value)) draft.addInput(makeValue(name, 'float32', dims));
          floats.set(value, name);
          float = { name, dims };
        }
        return writer.op('Where', [mask, rounded, float], dims);
      }
      if (outputs.has(restored) && held.name !== restored) {
        draft.removeNode(one.restore);
        draft.addNode(makeNode('Identity', [held.name], [restored]));
      }
    }
    for (const tensor of w.tensors) draft.add(tensor.name, tensor);
    for (const node of w.nodes) draft.addNode(node);
  });
  return { model, surrogates, masks, floats, v, scales, biases };
}

/** The rounding of the file itself; dx = dy between the ends. */
const straightThrough = (x: Value, low: number, high: number): Surrogate => ({
  inputs: [x.name],
  gradient: (w, dy) => [mul(w, dy, positive(w, mul(w, sub(w, x, w.scalar(low)), sub(w, w.scalar(high), x))))],
});

/** A bias and its unit, their mean magnitude; undefined where there is none of the layer's own. */
function biasUnit(layer: QuantizedLayer): { readonly values: Float64Array; readonly unit: number } | undefined {
  const values = biasValues(layer);
  const unit = values.reduce((sum, b) => sum + Math.abs(b), 0) / Math.max(1, values.length);
  return unit > 0 ? { values, unit } : undefined;
}
