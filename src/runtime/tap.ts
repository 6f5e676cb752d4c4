import type { Feeds, Tensor } from '../data/types.ts';
import { makeNode } from '../graph/build.ts';
import { edit, removeUnread, type Draft } from '../graph/edit.ts';
import { floatAttribute, intAttribute } from '../graph/attribute.ts';
import type { Model } from '../graph/model.ts';
import { ValueInfoCodec, type ValueInfoProto } from '../graph/proto.ts';
import { initializers, isOp, opset, producers } from '../graph/query.ts';
import type { Shapes } from '../graph/shapes.ts';
import { elementCount, makeTensor, tensorNumbers, weightBytes } from '../graph/tensor.ts';
import { QtoolError } from '../util/error.ts';
import { expose } from './expose.ts';
import { optimizedGraph } from './optimized.ts';
import { openSession, type Session, type SessionOptions } from './session.ts';

/** What is wanted of a value: all of it, its elements in any order, or each sample's smallest and largest. */
export type Reading = 'tensor' | 'elements' | 'extremes';

/** One thing to read in every run. */
export interface TapPoint {
  readonly value: string;
  readonly reading: Reading;
  /** Of `elements`, one of so many is read, or more where that would leave out parts of an image; 1 reads all. */
  readonly step: number;
}

/** A model that gives what the points want, in their order. */
export interface Tap {
  /**
   * What the points want of one run; the next run writes over it. `finite` is false where extremes may be wrong: a NaN reached the last value they are
   * taken of. Reduce nodes step over NaN; one that the network itself swallows before (a Relu gives 0) goes unseen.
   */
  run(feeds: Feeds): Promise<{ readonly tensors: readonly Tensor[]; readonly finite: boolean }>;
  close(): Promise<void>;
}

/** Above this many bytes of weights, writing and reading the optimized graph costs more than it saves. */
const optimizedLimit = 256 * 2 ** 20;

/**
 * Opens a model tapped at the given points.
 *
 * onnxruntime runs convolutions on blocked tensors ([N, C/16, H, W, 16]) and reorders each value that leaves the graph. Where
 * only elements or extremes are wanted, order does not matter: then the graph that onnxruntime made of the model is taken and
 * its blocked values are tapped as they are. Extremes are reduced inside the graph. Both together make calibration with
 * minimum and maximum cost about 1.2 float runs instead of 2.5 (docs/runtime.md).
 */
export async function openTap(
  model: Model,
  points: readonly TapPoint[],
  shapes: Shapes,
  options: SessionOptions = {},
): Promise<Tap> {
  const values = [...new Set(points.map((point) => point.value))];
  const plain = expose(model, values);
  const floors = new Set(values.filter((value) => neverNegative(model, value)));
  const anyOrder = points.some((point) => point.reading !== 'tensor') && (options.optimization ?? 'all') === 'all';
  if (anyOrder && hasConvolution(model) && weightBytes(model.graph) <= optimizedLimit) {
    const optimized = await optimizedGraph(plain, options, true);
    const tapped = withTaps(optimized, points, shapes, floors, blockedSources(optimized));
    try {
      return tapOf(await openSession(tapped.model, { ...options, optimization: 'disabled' }), tapped, points);
    } catch (error) {
      // onnxruntime promises nothing about reading its own optimized graphs back; the plain way always works.
      if (!(error instanceof QtoolError)) throw error;
    }
  }
  const tapped = withTaps(plain, points, shapes, floors, new Map());
  return tapOf(await openSession(tapped.model, options), tapped, points);
}

interface Tapped {
  readonly model: Model;
  /** Output names of each point: one, or smallest and largest (the first undefined where it is 0). */
  readonly outputs: readonly (readonly (string | undefined)[])[];
  /** Sum of the last value whose extremes are taken. */
  readonly guard: string | undefined;
}

function withTaps(
  model: Model,
  points: readonly TapPoint[],
  shapes: Shapes,
  floors: ReadonlySet<string>,
  sources: ReadonlyMap<string, string>,
): Tapped {
  const outputs: (string | undefined)[][] = points.map(() => []);
  const version = opset(model);
  let guard: string | undefined;
  const tapped = edit(model, (draft) => {
    const leaves: ValueInfoProto[] = [];
    const leaf = (name: string): string => {
      if (!leaves.some((value) => value.name === name)) leaves.push(ValueInfoCodec.create({ name }));
      return name;
    };
    // onnxruntime walks the graph from its last leaf to its first. Added in reverse, every tap runs right after the value it
    // reads, while that is still in the cache; otherwise all values would be kept to the end and read from memory.
    for (const [i, { value, reading, step }] of [...points.entries()].reverse()) {
      const source = reading === 'tensor' ? value : (sources.get(value) ?? value);
      const rank = shapes.get(value)?.dims.length ?? 0;
      if (reading === 'extremes') {
        guard ??= leaf(reduce(draft, 'ReduceSum', source, rank, version));
        const most = leaf(reduce(draft, 'ReduceMax', source, rank, version));
        outputs[i] = [floors.has(value) ? undefined : leaf(reduce(draft, 'ReduceMin', source, rank, version)), most];
      } else {
        const dims = shapes.get(value)?.dims ?? [];
        const taken = source === value ? everyRow(draft, value, dims, step) : everyPlace(draft, source, dims, step);
        outputs[i] = [leaf(taken)];
      }
    }
    draft.setOutputs(leaves);
    removeUnread(draft, new Set(leaves.map((value) => value.name)));
  });
  return { model: tapped, outputs, guard };
}

/** Reduces all axes but the first: one number a sample. The axes became an input with opset 18, of ReduceSum with 13. */
function reduce(draft: Draft, op: string, value: string, rank: number, version: number): string {
  const axes = Array.from({ length: rank - 1 }, (_, i) => i + 1);
  const output = draft.freshName(`${value}_${op}`);
  if (version < (op === 'ReduceSum' ? 13 : 18)) draft.addNode(makeNode(op, [value], [output], { axes, keepdims: 0 }));
  else draft.addNode(makeNode(op, [value, constant(draft, `axes_${rank}`, axes)], [output], { keepdims: 0 }));
  return output;
}

/**
 * Every `step`-th row (axis 2 of an image, axis 1 of a sequence), four at least: fewer would see a part of the image only. From the
 * middle of the first step: row 0 is a border, where padding makes values special.
 */
function everyRow(draft: Draft, value: string, dims: readonly number[], step: number): string {
  const every = Math.min(step, plainStep(dims));
  return every > 1 ? slice(draft, value, dims.length === 3 ? 1 : 2, every) : value;
}

/**
 * Every `step`-th place of a blocked tensor, where the 16 channels of a block lie side by side: [N, places, 16]. At least four
 * places of each block, in at least four columns: a multiple of the width would stay in one.
 */
function everyPlace(draft: Draft, value: string, dims: readonly number[], step: number): string {
  const [height = 1, width = 1] = dims.slice(2);
  let every = Math.max(1, Math.min(step, (height * width) >> 2));
  while (commonDivisor(every, width) > Math.max(1, width >> 2)) every--;
  if (every === 1) return value;
  const places = draft.freshName(`${value}_places`);
  draft.addNode(makeNode('Reshape', [value, constant(draft, 'places', [0, -1, 16])], [places]));
  return slice(draft, places, 1, every);
}

const commonDivisor = (a: number, b: number): number => (b === 0 ? a : commonDivisor(b, a % b));

function slice(draft: Draft, value: string, axis: number, step: number): string {
  const output = draft.freshName(`${value}_share`);
  const bounds = [step >> 1, 2 ** 31, axis, step].map((number) => constant(draft, `number_${number}`, [number]));
  draft.addNode(makeNode('Slice', [value, ...bounds], [output]));
  return output;
}

function constant(draft: Draft, name: string, values: readonly number[]): string {
  return draft.add(`qtool_tap_${name}`, makeTensor('', 'int64', [values.length], BigInt64Array.from(values, BigInt)));
}

/** Values that the optimized graph has in blocked form as well, whole blocks only: padded channels would add zeros. */
function blockedSources(optimized: Model): Map<string, string> {
  const sources = new Map<string, string>();
  for (const node of optimized.graph.node) {
    if (node.domain !== 'com.microsoft.nchwc' || node.op_type !== 'ReorderOutput') continue;
    const [from, to] = [node.input[0], node.output[0]];
    if (from !== undefined && to !== undefined && intAttribute(node, 'channels', 1) % 16 === 0) sources.set(to, from);
  }
  return sources;
}

/** Whether a value is the output of a Relu, or of a Clip from 0. */
function neverNegative(model: Model, value: string): boolean {
  const maker = producers(model.graph).get(value);
  if (maker === undefined || !isOp(maker, 'Relu', 'Clip', 'Sigmoid', 'Softmax')) return false;
  if (!isOp(maker, 'Clip')) return true;
  const bound = initializers(model.graph).get(maker.input[1] ?? '');
  const least = bound === undefined ? floatAttribute(maker, 'min', -Infinity) : (tensorNumbers(bound)[0] ?? -Infinity);
  return least >= 0;
}

const hasConvolution = (model: Model): boolean => model.graph.node.some((node) => isOp(node, 'Conv'));

function tapOf(session: Session, { outputs, guard }: Tapped, points: readonly TapPoint[]): Tap {
  const run = reusing(session);
  return {
    async run(feeds) {
      const results = await run(feeds);
      const sums = guard === undefined ? [] : Array.from(results[guard]?.data as Float32Array);
      const tensors = points.map(({ reading }, i) => {
        const [first, second] = outputs[i] ?? [];
        if (reading !== 'extremes') return results[first!]!;
        return paired(first === undefined ? undefined : results[first], results[second!]!);
      });
      return { tensors, finite: sums.every(Number.isFinite) };
    },
    close: () => session.close(),
  };
}

/**
 * Runs a session, writing over the results of the run before where the inputs have the same shapes: megabytes of fresh arrays
 * a run would make memory grow until the garbage collector notices.
 */
function reusing(session: Session): (feeds: Feeds) => Promise<Feeds> {
  let last: { readonly shapes: string; readonly results: Feeds } | undefined;
  return async (feeds) => {
    const shapes = Object.values(feeds).map(({ dims }) => dims.join()).join(';'); // prettier-ignore
    const into = last?.shapes === shapes ? last.results : undefined;
    // Shapes may depend on data (NonZero): then the places do not fit, and onnxruntime says so.
    const results = await session.run(feeds, undefined, into).catch((error: unknown) => {
      if (into === undefined) throw error;
      return session.run(feeds);
    });
    last = { shapes, results };
    return results;
  };
}

/** Smallest and largest of each sample beside each other: [samples, 2]. Samples without elements have neither. */
function paired(least: Tensor | undefined, most: Tensor): Tensor {
  const [low, high] = [least?.data as Float32Array | undefined, most.data as Float32Array];
  if (high.length > 0 && high[0] === -Infinity) return { type: 'float32', dims: [0], data: new Float32Array(0) };
  const data = new Float32Array(2 * high.length);
  for (let i = 0; i < high.length; i++) {
    data[2 * i] = low?.[i] ?? 0;
    data[2 * i + 1] = high[i]!;
  }
  return { type: 'float32', dims: [high.length, 2], data };
}

/** One of how many elements is to be read so that about `elements` of a sample are; 1 where a value cannot be cut. */
export function stepFor(dims: readonly number[], elements: number, version: number): number {
  // Slice has no steps before opset 10.
  if (version < 10 || dims.length < 3 || dims.length > 4) return 1;
  return Math.max(1, Math.floor(elementCount(dims.slice(1)) / elements));
}

/** The largest step that leaves four rows of a value. */
export function plainStep(dims: readonly number[]): number {
  return Math.max(1, (dims[dims.length === 3 ? 1 : 2] ?? 1) >> 2);
}
