import * as z from 'zod';
import { float } from '../step.ts';

import type { Batch, Target, Tensor } from '../../../data/types.ts';
import type { Model } from '../../../graph/model.ts';
import { initializers, producers } from '../../../graph/query.ts';
import { elementCount } from '../../../graph/tensor.ts';
import { numbersOf } from '../../../metrics/select.ts';
import { QtoolError } from '../../../util/error.ts';
import { given } from '../../../util/must.ts';
import { didYouMean } from '../../../util/suggest.ts';

/** Which numbers of the model a loss reads. */
export const scoreOptions = {
  output: z.string().min(1).optional().meta({ description: "the model's output; by default the first" }),
  axis: z.int().optional().meta({ description: 'its axis of classes; by default the last' }),
};
export const logitsOption = z
  .boolean()
  .default(true)
  .meta({ description: 'whether the output holds scores; false: shares, where the model ends in Softmax or Sigmoid' });
export interface ScoreOptions {
  readonly output?: string | undefined;
  readonly axis?: number | undefined;
}

/** The axis of classes, counted from the front: the last after axes of size 1 are left out, unless it is named. */
export function classAxis(dims: readonly number[], axis?: number): number {
  if (axis !== undefined) return axis < 0 ? dims.length + axis : axis;
  let at = dims.length - 1;
  while (at > 1 && dims[at] === 1) at--;
  return at;
}

/** The shape with one number in place of the classes: a position each. */
export const positionsOf = (dims: readonly number[], axis: number): number[] =>
  dims.map((size, i) => (i === axis ? 1 : size));

/** The output that is meant. @throws QtoolError('schedule') where there is none of that name. */
export function outputOf<V>(outputs: ReadonlyMap<string, V>, output: string | undefined): readonly [string, V] {
  const name = output ?? [...outputs.keys()][0] ?? '';
  const found = outputs.get(name);
  if (found !== undefined) return [name, found];
  const names = [...outputs.keys()];
  throw new QtoolError('schedule', `the loss reads the output "${name}", which the model has not${didYouMean(name, names)}`, { hint: `it has ${names.join(', ')}` }); // prettier-ignore
}

interface Wanted {
  /** The wanted numbers, of the output's shape. */
  readonly target: Tensor;
  /** 1 for each position that counts, 0 where not: of the output's shape with one class. */
  readonly counted: Tensor;
}

/**
 * What an output should be for a batch: expected tensors as they are, labels as shares of the classes, smoothed and mixed. Of a single class, the
 * label is the number itself. Samples beyond the batch's count, and labels of −1, count nothing.
 * @throws QtoolError('data') naming the sample that has no answer, or one that does not fit.
 */
export function wantedOf(
  batch: Batch,
  name: string,
  dims: readonly number[],
  options: ScoreOptions & { readonly smoothing?: number; readonly rest?: number },
): Wanted {
  const axis = classAxis(dims, options.axis);
  const classes = given(dims[axis], 'the classes');
  const each = elementCount(dims) / batch.size;
  const layout = {
    classes,
    positions: each / classes,
    inner: elementCount(dims.slice(axis + 1)),
    ...smoothingOf(options, classes),
  };
  const target = new Float32Array(elementCount(dims));
  const counted = new Float32Array(target.length / classes);
  for (let i = 0; i < batch.count; i++) {
    const own = target.subarray(i * each, (i + 1) * each);
    const rows = counted.subarray(i * layout.positions, (i + 1) * layout.positions);
    const problem = fill(own, rows, batch.targets[i], name, layout);
    if (problem !== undefined) throw new QtoolError('data', problem.text, { at: batch.ids[i], hint: problem.hint });
  }
  return { target: float(target, dims), counted: float(counted, positionsOf(dims, axis)) };
}

/** ε spread over the classes: a share of each wanted number goes, and `rest` comes to all. */
const smoothingOf = ({ smoothing = 0, rest }: { smoothing?: number; rest?: number }, classes: number) => ({
  smoothing,
  rest: rest ?? smoothing / classes,
});

type Layout = ReturnType<typeof smoothingOf> & { readonly classes: number; readonly positions: number; readonly inner: number }; // prettier-ignore

interface Problem {
  readonly text: string;
  readonly hint?: string | undefined;
}

function fill(
  own: Float32Array,
  rows: Float32Array,
  target: Target | undefined,
  name: string,
  layout: Layout,
): Problem | undefined {
  const expected = target?.expected?.[name];
  if (expected) {
    const data = numbersOf(expected);
    if (data.length !== own.length)
      return { text: `the sample expects ${data.length} numbers of output ${name}, which gives ${own.length}` };
    for (let i = 0; i < own.length; i++) own[i] = Number(data[i]);
    rows.fill(1);
    return undefined;
  }
  const { label, mixed } = target ?? {};
  if (!label)
    return {
      text: 'the sample has no label, and the loss compares with labels',
      hint: 'give labels in the data config, or a teacher: distillation: { teacher: … }',
    };
  const { positions } = layout;
  if (label.length !== positions)
    return {
      text: `the sample has ${label.length} labels, and output ${name} has ${positions} positions of ${layout.classes} classes`,
      hint: 'name the output and its class axis: loss: { name: …, output: …, axis: … }',
    };
  const share = mixed?.share ?? 0;
  return mark(own, rows, label, 1 - share, layout) ?? (mixed && mark(own, rows, mixed.label, share, layout));
}

function mark(
  own: Float32Array,
  rows: Float32Array,
  labels: Int32Array,
  share: number,
  layout: Layout,
): Problem | undefined {
  const { classes, inner, smoothing, rest } = layout;
  for (const [p, label] of labels.entries()) {
    if (label < 0) continue;
    if (label >= Math.max(2, classes))
      return {
        text: `the sample has label ${label}, and the model knows ${Math.max(2, classes)} classes: 0 to ${Math.max(2, classes) - 1}`,
      };
    rows[p] = 1;
    const start = Math.floor(p / inner) * classes * inner + (p % inner);
    for (let c = 0; c < classes; c++) own[start + c * inner]! += share * rest;
    own[start + (classes > 1 ? label : 0) * inner]! += share * (1 - smoothing) * (classes > 1 ? 1 : label);
  }
  return undefined;
}

/** Operators that keep what the numbers are. */
const same = new Set(['Identity', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze']);

/** Whether an output holds shares already: it comes from one of these operators, if by way of a Reshape. */
function endsIn(model: Model, output: string, ops: readonly string[]): boolean {
  const made = producers(model.graph);
  const constants = initializers(model.graph);
  for (let node = made.get(output); node;) {
    if (ops.includes(node.op_type)) return true;
    const from = node.input[0] ?? '';
    if (!same.has(node.op_type) || constants.has(from)) return false;
    node = made.get(from);
  }
  return false;
}

/**
 * Options with what the model and its first batch decide: which output has as many positions as the samples have labels, along which axis its
 * classes lie (the last; else axis 1, as in images of classes), and whether it holds scores or shares.
 */
export function settledScores<O extends ScoreOptions & { readonly logits?: boolean }>(
  o: O,
  model: Model,
  batch: Batch,
  outputs: ReadonlyMap<string, readonly number[]>,
  shares: readonly string[],
): O {
  const labels = batch.targets[0]?.label?.length;
  const names = o.output === undefined ? [...outputs.keys()] : [outputOf(outputs, o.output)[0]];
  const choices = names.flatMap((output) => {
    const dims = given(outputs.get(output), 'the output');
    const axes = o.axis === undefined ? [classAxis(dims), 1] : [classAxis(dims, o.axis)];
    return axes
      .filter((axis) => axis > 0 && axis < dims.length)
      .map((axis) => ({ output, axis, positions: elementCount(dims) / batch.size / dims[axis]! }));
  });
  const found = choices.find(({ positions }) => labels === undefined || positions === labels) ?? choices[0];
  if (!found) return o;
  const { output, axis } = found;
  return {
    ...o,
    output,
    axis,
    ...(o.logits === undefined ? {} : { logits: o.logits && !endsIn(model, output, shares) }),
  };
}
