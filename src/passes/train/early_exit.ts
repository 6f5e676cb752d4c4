import * as z from 'zod';
import { makeNode, makeValue } from '../../graph/build.ts';
import { edit, type Draft } from '../../graph/edit.ts';
import { exitsOf, ownOutputs, setExits, type Exit } from '../../graph/exits.ts';
import type { Model } from '../../graph/model.ts';
import { describeValue, layerName, modelInputs, opset, producers } from '../../graph/query.ts';
import type { Shapes } from '../../graph/shapes.ts';
import { elementCount, makeTensor } from '../../graph/tensor.ts';
import { QtoolError } from '../../util/error.ts';
import { given } from '../../util/must.ts';
import { didYouMean } from '../../util/suggest.ts';
import { seedOf, uniform } from '../../util/uniform.ts';
import type { Note, Pass, PassResult } from '../pass.ts';
import { classAxis } from './loss/targets.ts';

const exit = z.strictObject({
  at: z.string().min(1).meta({ description: 'the value that the branch begins at, or the node that makes it' }),
  weight: z.number().gt(0).lt(1).default(0.3).meta({ description: 'share of the loss; the model itself has what is left of 1' }), // prettier-ignore
  threshold: z.number().min(0).default(0.4).meta({ description: 'a sample leaves where the entropy of its scores (nats) is no larger' }), // prettier-ignore
  grid: z.int().min(1).default(1).meta({ description: 'images are averaged to so many places along each axis' }),
});

const options = z.strictObject({
  exits: z.array(exit).min(1).meta({ description: 'where branches leave the network' }),
  seed: z.int().min(0).default(0),
});

type Asked = z.infer<typeof exit>;

/**
 * Adds branches that classify by inner values, so that a sample whose answer is clear need not go through the whole network. A branch is an average over
 * the places of its value and a Gemm, drawn as PyTorch draws a Linear, uniform between ±1/√inputs; it is trained with the network by `training:`.
 * Its scores are a further output behind the model's own, so that whoever reads the first goes on to read what it did.
 */
export const earlyExit: Pass<z.infer<typeof options>> = {
  name: 'train/early_exit',
  section: 'extensions',
  classes: ['EarlyExit'],
  summary: 'adds branches that classify by inner values and are trained with the network: clear samples leave early',
  source: 'Teerapittayanon et al. 2016 (BranchyNet, arXiv 1709.01686); the weights of the loss as in Distiller',
  options,
  grows: true,
  async apply(model, o, ctx): Promise<PassResult> {
    if (!ctx.lesson)
      throw new QtoolError('schedule', 'an early exit is at chance until it is trained, and nothing trains here', {
        hint: 'add `training:` to the schedule, and start EarlyExit in one of its epochs',
      });
    const shapes = await ctx.shapes(model);
    const { classes, batch } = answerOf(model, shapes);
    const before = exitsOf(model);
    const [changed, skipped, added]: [Note[], Note[], (Asked & { value: string; layer: string })[]] = [[], [], []];
    for (const one of o.exits) {
      const { value, layer } = placeOf(model, one.at);
      const has = [...before.map(({ at }) => at), ...added.map((two) => two.value)].includes(value);
      if (has) skipped.push({ layer, text: `${value} has an exit already` });
      else added.push({ ...one, value, layer });
    }
    const weights = [...before, ...added].reduce((sum, { weight }) => sum + weight, 0);
    if (weights >= 1)
      throw new QtoolError('schedule', `the weights of the exits are ${Number(weights.toFixed(6))} together, and leave nothing of 1 for the model's own output`, { hint: 'give them less' }); // prettier-ignore
    // First to last, whatever the order of the list: a reader goes that way.
    const order = [...producers(model.graph).keys()];
    added.sort((a, b) => order.indexOf(a.value) - order.indexOf(b.value));
    const result = edit(model, (draft) => {
      const made: Exit[] = added.map(({ value, layer, grid, weight, threshold }, i) => {
        const dims = floatDims(shapes, value);
        const output = draft.freshName(`exit_${before.length + i}`);
        const inputs = branch(draft, model, { value, dims, grid, output, classes, seed: seedOf(o.seed, before.length + i) }); // prettier-ignore
        draft.addOutput(makeValue(output, 'float32', [batch, classes]));
        changed.push({ layer, text: `${output} leaves behind it: ${inputs} means, ${classes} classes, weight ${weight} of the loss, threshold ${threshold}` }); // prettier-ignore
        return { output, at: value, weight, threshold };
      });
      const all = [...before, ...made].sort((a, b) => order.indexOf(a.at) - order.indexOf(b.at));
      setExits(draft, all);
    });
    return { model: added.length === 0 ? model : result, changed, skipped };
  },
};

/** What the model answers with: classes of whole samples. @throws QtoolError('graph') for anything else. */
function answerOf(model: Model, shapes: Shapes) {
  const output = given(ownOutputs(model)[0], 'the output');
  const shape = shapes.get(output.name);
  const dims = shape?.dims ?? [];
  const classes = dims.length < 2 ? 0 : given(dims[classAxis(dims)], 'the classes');
  if (shape?.type !== 'float32' || classes < 2 || classes !== elementCount(dims.slice(1)))
    throw new QtoolError('graph', `early exits tell classes of whole samples apart, and output ${output.name} is ${shape?.type ?? 'of unknown type'} [${dims.join(', ')}]`, { hint: 'the first output must be float32 [samples, classes], with two classes or more' }); // prettier-ignore
  const first = describeValue(output).dims?.[0] ?? modelInputs(model)[0]?.dims?.[0] ?? '?';
  return { classes, batch: first === '?' ? 'batch' : first };
}

/** The value that is meant: of that name, or the first that the node of that name makes. */
function placeOf(model: Model, at: string): { readonly value: string; readonly layer: string } {
  const made = producers(model.graph);
  const node = made.get(at) ?? model.graph.node.find((one) => layerName(one) === at);
  const value = made.has(at) ? at : node?.output[0];
  if (!node || value === undefined)
    throw new QtoolError('schedule', `the model has no value and no node "${at}"${didYouMean(at, [...made.keys(), ...model.graph.node.map(layerName)])}`, { at: 'exits', hint: '`qtool inspect` lists the layers' }); // prettier-ignore
  if (model.graph.output.some(({ name }) => name === value))
    throw new QtoolError('schedule', `"${at}" is an output of the model: nothing is saved by leaving there`, { at: 'exits' }); // prettier-ignore
  return { value, layer: layerName(node) };
}

function floatDims(shapes: Shapes, value: string): readonly number[] {
  const shape = shapes.get(value);
  if (shape?.type === 'float32') return shape.dims;
  throw refused(value, `is ${shape ? `of type ${shape.type}` : 'no tensor'}: an exit reads float32`);
}

interface Branch {
  readonly value: string;
  /** Of one sample: [1, channels, …places], [1, places, features] or [1, features]. */
  readonly dims: readonly number[];
  readonly grid: number;
  readonly output: string;
  readonly classes: number;
  readonly seed: number;
}

/** Writes a branch. @returns the numbers that its Gemm reads. */
function branch(draft: Draft, model: Model, { value, dims, grid, output, classes, seed }: Branch): number {
  if (dims.length < 2) throw refused(value, `is [${dims.join(', ')}]: an exit reads [samples, features] or more axes`);
  if (grid > 1 && dims.length < 4) throw refused(value, `is [${dims.join(', ')}], no image: it has no places for a grid of ${grid}`); // prettier-ignore
  const add = (op: string, input: readonly string[], what: string, attributes: Parameters<typeof makeNode>[3] = {}): string => {
    const name = draft.freshName(`${output}_${what}`);
    draft.addNode(makeNode(op, input, [name], attributes, { name }));
    return name;
  }; // prettier-ignore
  let [read, inputs] = [value, dims.at(-1)!];
  if (dims.length === 3) {
    if (opset(model) >= 18) {
      const axes = draft.add(`${output}_axes`, makeTensor('', 'int64', [1], BigInt64Array.of(1n)));
      read = add('ReduceMean', [read, axes], 'mean', { keepdims: 0 });
    } else read = add('ReduceMean', [read], 'mean', { keepdims: 0, axes: [1] });
  } else if (dims.length > 3) {
    const { op, attributes } = pooling(model, read, dims, grid);
    read = add(op, [read], 'pool', attributes);
    inputs = dims[1]! * grid ** (dims.length - 2);
    read = add('Flatten', [read], 'flatten', { axis: 1 });
  }
  const next = uniform(seed);
  const reach = 1 / Math.sqrt(inputs);
  const drawn = (count: number): Float32Array => Float32Array.from({ length: count }, () => (2 * next() - 1) * reach);
  const weight = draft.add(`${output}.weight`, makeTensor('', 'float32', [classes, inputs], drawn(classes * inputs)));
  const bias = draft.add(`${output}.bias`, makeTensor('', 'float32', [classes], drawn(classes)));
  draft.addNode(makeNode('Gemm', [read, weight, bias], [output], { transB: 1 }, { name: draft.freshName(`${output}_fc`) })); // prettier-ignore
  return inputs;
}

/** Means of equal windows that cover an image: steps of ⌊size / grid⌋, the last window up to its end. */
function pooling(model: Model, value: string, dims: readonly number[], grid: number) {
  if (grid === 1) return { op: 'GlobalAveragePool', attributes: {} };
  const sizes = dims.slice(2);
  const free = modelInputs(model).find((input) => input.dims?.slice(1).some((dim) => typeof dim === 'string'));
  if (free) throw refused(value, `has a size that follows input ${free.name}, which is free: a grid takes a fixed one`);
  if (sizes.some((size) => size < grid)) throw refused(value, `is [${dims.join(', ')}], smaller than a grid of ${grid}`); // prettier-ignore
  const strides = sizes.map((size) => Math.floor(size / grid));
  const kernel_shape = sizes.map((size, i) => size - (grid - 1) * strides[i]!);
  return { op: 'AveragePool', attributes: { kernel_shape, strides } };
}

const refused = (value: string, why: string): QtoolError => new QtoolError('schedule', `the value "${value}" ${why}`, { at: 'exits' }); // prettier-ignore
