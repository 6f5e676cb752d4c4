import type { Batch, Feeds, Tensor } from '../data/types.ts';
import { fixedBatch } from '../data/layout.ts';
import { makeValue } from '../graph/build.ts';
import { exitsOf, ownOutputs, type Exit } from '../graph/exits.ts';
import type { Model } from '../graph/model.ts';
import { consecutiveParts } from '../graph/parts.ts';
import { modelInputs } from '../graph/query.ts';
import { numbersOf } from '../metrics/select.ts';
import { scoreEntropy } from '../numerics/score_entropy.ts';
import { QtoolError } from '../util/error.ts';
import { given, must } from '../util/must.ts';
import { openSession, type Session, type SessionOptions } from './session.ts';
import { inferShapes } from './shapes.ts';

/** A model cut at its early exits: part i ends in exit i, the last in the model's own outputs. */
export interface ExitParts {
  readonly exits: readonly Exit[];
  readonly parts: readonly Model[];
}

/**
 * Cuts a model at its early exits, so that what stands behind an exit is not computed for a sample that leaves there.
 * @param sample a batch of one: shapes are seen on it.
 * @throws QtoolError('model') for a model without exits.
 */
export async function exitParts(model: Model, sample: Batch): Promise<ExitParts> {
  const exits = exitsOf(model);
  if (exits.length === 0)
    throw new QtoolError('model', 'the model has no early exits', { at: model.path, hint: 'a schedule with EarlyExit trains them (docs/passes/train.md)' }); // prettier-ignore
  const inputs = modelInputs(model);
  const shapes = await inferShapes(model, sample);
  const wider = fixedBatch(inputs) === undefined ? await inferShapes(model, twice(sample)) : undefined;
  const free = inputs.some(({ dims }) => dims?.slice(1).some((dim) => typeof dim === 'string') ?? true);
  const batch = inputs[0]?.dims?.[0];
  const dimsOf = (value: string): readonly number[] => must(shapes, value, 'the shape of').dims;
  // A size that is computed of the whole batch would be that of more samples than are left.
  const crosses = (value: string): boolean => {
    const [one, two] = [dimsOf(value)[0], wider?.get(value)?.dims[0]];
    return wider === undefined || (one !== undefined && two === 2 * one);
  };
  const described = (value: string) => {
    const rows = (size: number): number | string => (wider === undefined ? size : size === 1 && typeof batch === 'string' ? batch : `${value}_0`); // prettier-ignore
    // Of sizes that may change with an input only the number is known.
    const axes = dimsOf(value).map((size, axis) => (axis === 0 ? rows(size) : free ? `${value}_${axis}` : size));
    return makeValue(value, must(shapes, value, 'the type of').type, axes);
  };
  const groups = [...exits.map(({ output }) => [output]), ownOutputs(model).map(({ name }) => name)];
  return { exits, parts: consecutiveParts(model, groups, { crosses, described }) };
}

function twice({ ids, feeds, targets }: Batch): Batch {
  const wide = Object.entries(feeds).map(([name, { type, dims, data }]) => [name, { type, dims: [2 * (dims[0] ?? 1), ...dims.slice(1)], data: repeated(data) }] as const); // prettier-ignore
  return { ids: [...ids, ...ids], feeds: Object.fromEntries(wide), targets: [...targets, ...targets], count: 2, size: 2 }; // prettier-ignore
}

function repeated(data: Tensor['data']): Tensor['data'] {
  if (Array.isArray(data)) return [...(data as string[]), ...(data as string[])];
  const one = data as Float32Array;
  const two = new (one.constructor as Float32ArrayConstructor)(2 * one.length);
  two.set(one);
  two.set(one, one.length);
  return two;
}

/** What became of one sample. */
export interface ExitAnswer {
  /** Where it left, counted from 0; as many as there are exits: at the end. */
  readonly exit: number;
  /** Its scores there, one a class; at the end those of the model's first output. */
  readonly scores: Float32Array;
}

/** A model that stops where a sample's answer is clear. */
export interface ExitReader {
  /** Runs a batch; part i + 1 is given only the samples that did not leave at exit i. */
  run(feeds: Feeds): Promise<ExitAnswer[]>;
  close(): Promise<void>;
}

/**
 * Opens a session for every part. A sample leaves at the first exit where −Σ p ln p of the softmax of its scores is no larger than the threshold:
 * BranchyNet's rule (Teerapittayanon et al. 2016, arXiv 1709.01686, algorithm 1), which needs no label.
 * @param thresholds one an exit, in nats; default: those that the model has.
 * @throws QtoolError('usage') for thresholds of another number, QtoolError('graph') for a model of a fixed batch of several samples.
 */
export async function openExits(
  { exits, parts }: ExitParts,
  thresholds: readonly number[] = exits.map(({ threshold }) => threshold),
  options: SessionOptions = {},
): Promise<ExitReader> {
  checkThresholds(exits, thresholds);
  const fixed = fixedBatch(modelInputs(given(parts[0], 'the first part'))) ?? 1;
  if (fixed > 1)
    throw new QtoolError('graph', `the model takes ${fixed} samples at once, of which single ones cannot leave`, { at: parts[0]?.path, hint: 'export it with a free batch, or a batch of 1' }); // prettier-ignore
  const sessions: Session[] = [];
  const close = async (): Promise<void> => {
    for (const session of sessions.splice(0)) await session.close();
  };
  try {
    for (const part of parts) sessions.push(await openSession(part, options));
  } catch (error) {
    await close();
    throw error;
  }
  const last = given(given(parts.at(-1), 'the last part').graph.output[0], 'the output').name;
  return { close, run: (feeds) => runParts(sessions, [...exits.map(({ output }) => output), last], thresholds, feeds) };
}

/** @throws QtoolError('usage') where there is not one for each exit, or one is no entropy. */
export function checkThresholds(exits: readonly Exit[], thresholds: readonly number[]): void {
  if (thresholds.length !== exits.length)
    throw new QtoolError('usage', `${thresholds.length} thresholds are given, and the model has ${exits.length} early exits`, { hint: `give one for each of ${exits.map(({ output }) => output).join(', ')}` }); // prettier-ignore
  const bad = thresholds.find((one) => !(one >= 0));
  if (bad !== undefined) throw new QtoolError('usage', `a threshold is an entropy, 0 or more, not ${bad}`);
}

async function runParts(
  sessions: readonly Session[],
  outputs: readonly string[],
  thresholds: readonly number[],
  feeds: Feeds,
): Promise<ExitAnswer[]> {
  const samples = Object.values(feeds)[0]?.dims[0] ?? 0;
  const answers = new Array<ExitAnswer>(samples);
  let values = new Map<string, Tensor>(Object.entries(feeds));
  let rows = Array.from({ length: samples }, (_, i) => i);
  for (const [i, session] of sessions.entries()) {
    const fed = session.inputs.map(({ name }) => [name, must(values, name, 'the value')] as const);
    for (const [name, tensor] of Object.entries(await session.run(Object.fromEntries(fed)))) values.set(name, tensor);
    const scores = scoreRows(must(values, outputs[i] ?? '', 'the output'), rows.length);
    const threshold = thresholds[i] ?? Infinity;
    const stay: number[] = [];
    for (const [at, row] of rows.entries()) {
      const own = given(scores[at], 'the scores');
      if (i === thresholds.length || scoreEntropy(own) <= threshold) answers[row] = { exit: i, scores: own };
      else stay.push(at);
    }
    if (stay.length === 0) break;
    if (stay.length < rows.length) values = new Map([...values].map(([name, tensor]) => [name, picked(name, tensor, rows.length, stay)])); // prettier-ignore
    rows = stay.map((at) => rows[at]!);
  }
  return answers;
}

/** The scores of each of so many samples. */
export function scoreRows(tensor: Tensor, samples: number): Float32Array[] {
  const data = Float32Array.from(numbersOf(tensor));
  const classes = data.length / samples;
  return Array.from({ length: samples }, (_, i) => data.subarray(i * classes, (i + 1) * classes));
}

/** Some samples of a value. */
function picked(name: string, tensor: Tensor, samples: number, stay: readonly number[]): Tensor {
  const first = tensor.dims[0];
  if (first === undefined || first % samples !== 0)
    throw new QtoolError('graph', `"${name}" [${tensor.dims.join(', ')}] holds no rows of ${samples} samples, of which some leave`, { hint: 'run samples one by one' }); // prettier-ignore
  const width = tensor.data.length / samples;
  if (Array.isArray(tensor.data)) throw new QtoolError('graph', `"${name}" is of text, which no exit is read beside`);
  const all = tensor.data as Float32Array;
  const data = new (all.constructor as Float32ArrayConstructor)(width * stay.length);
  for (const [i, at] of stay.entries()) data.set(all.subarray(at * width, (at + 1) * width), i * width);
  return { type: tensor.type, dims: [(first / samples) * stay.length, ...tensor.dims.slice(1)], data };
}
