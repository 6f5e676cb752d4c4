import { intAttribute, intsAttribute, stringAttribute } from '../../graph/attribute.ts';
import type { GradientContext, GradientRule } from '../rule.ts';
import {
  fromFront,
  inverse,
  pad,
  reshape,
  slice,
  sum,
  transpose,
  unbroadcast,
  type GraphWriter,
  type Value,
} from '../writer.ts';

const moved = 'numbers that only move: their gradients move back';

/** The parts of a Concat's output, or of a Split's input: where each begins along the axis. */
function starts(parts: readonly Value[], axis: number): number[] {
  let at = 0;
  return parts.map(({ dims }) => {
    const begin = at;
    at += dims[axis]!;
    return begin;
  });
}

/** Blocks of b × b that depth holds: [N, b, b, C, H, W] of mode DCR, [N, C, b, b, H, W] of CRD, as axes of the output [N, C, H, b, W, b]. */
const depthOrder = { DCR: [0, 3, 4, 1, 5, 2], CRD: [0, 1, 4, 2, 5, 3] } as const;

function spaceToDepth(w: GraphWriter, x: Value, block: number, mode: 'DCR' | 'CRD'): Value {
  const [n, c, h, wide] = x.dims as [number, number, number, number];
  const split = reshape(w, x, [n, c, h / block, block, wide / block, block]);
  return reshape(w, transpose(w, split, inverse(depthOrder[mode])), [n, c * block * block, h / block, wide / block]);
}

function depthToSpace(w: GraphWriter, x: Value, block: number, mode: 'DCR' | 'CRD'): Value {
  const [n, c, h, wide] = x.dims as [number, number, number, number];
  const depth = c / block / block;
  const split = reshape(w, x, mode === 'DCR' ? [n, block, block, depth, h, wide] : [n, depth, block, block, h, wide]);
  return reshape(w, transpose(w, split, depthOrder[mode]), [n, depth, h * block, wide * block]);
}

const modeOf = (c: GradientContext): 'DCR' | 'CRD' =>
  stringAttribute(c.node, 'mode', 'DCR') === 'CRD' ? 'CRD' : 'DCR';

/** What only moves numbers. */
export const shapeRules: readonly GradientRule[] = [
  { ops: ['Identity', 'Dropout'], source: `${moved}; a Dropout is one of inference`, gradient: (c) => [c.dy(0)] },
  {
    ops: ['Cast'],
    source: moved,
    refuse: (c) => (intAttribute(c.node, 'to', 1) === 1 ? undefined : 'casts to another type than float32'),
    gradient: (c) => [c.dy(0)],
  },
  {
    ops: ['Reshape', 'Flatten', 'Squeeze', 'Unsqueeze'],
    source: moved,
    gradient: (c) => [reshape(c.w, c.dy(0)!, c.x(0).dims)],
  },
  {
    ops: ['Transpose'],
    source: moved,
    gradient(c) {
      const rank = c.x(0).dims.length;
      const perm = intsAttribute(c.node, 'perm') ?? [...Array(rank).keys()].reverse();
      return [transpose(c.w, c.dy(0)!, inverse(perm))];
    },
  },
  { ops: ['Expand'], source: moved, gradient: (c) => [unbroadcast(c.w, c.dy(0)!, c.x(0).dims)] },
  {
    ops: ['Tile'],
    source: moved,
    gradient(c) {
      const { w } = c;
      const { dims } = c.x(0);
      const split = c.dy(0)!.dims.flatMap((size, i) => (dims[i] === 0 ? [size, 0] : [size / dims[i]!, dims[i]!]));
      const axes = dims.map((_, i) => 2 * i);
      return [sum(w, reshape(w, c.dy(0)!, split), axes)];
    },
  },
  {
    ops: ['Concat'],
    source: moved,
    gradient(c) {
      const parts = c.node.input.map((_, i) => c.x(i));
      const axis = fromFront(intAttribute(c.node, 'axis', 0), parts[0]!.dims.length);
      const begins = starts(parts, axis);
      return parts.map(({ dims }, i) =>
        c.needs(i) ? slice(c.w, c.dy(0)!, [{ axis, start: begins[i]!, size: dims[axis]! }]) : undefined,
      );
    },
  },
  {
    ops: ['Split'],
    source: moved,
    gradient(c) {
      const { w } = c;
      const parts = c.node.output.map((_, i) => c.dy(i) ?? w.filled(c.y(i).dims));
      const axis = fromFront(intAttribute(c.node, 'axis', 0), c.x(0).dims.length);
      return [w.op('Concat', parts, c.x(0).dims, { axis })];
    },
  },
  {
    ops: ['Pad'],
    source: moved,
    refuse: (c) => {
      const mode = stringAttribute(c.node, 'mode', 'constant');
      if (mode !== 'constant') return `pads by mode "${mode}"`;
      if (padsOf(c) === undefined) return 'pads by sizes that are computed';
      return c.has(2) && c.needs(2) ? 'pads with a value that would have to be trained' : undefined;
    },
    gradient(c) {
      const { before, after } = padsOf(c)!;
      return [pad(c.w, c.dy(0)!, before.map((size) => -size), after.map((size) => -size))]; // prettier-ignore
    },
  },
  {
    ops: ['DepthToSpace'],
    source: moved,
    gradient: (c) => [spaceToDepth(c.w, c.dy(0)!, intAttribute(c.node, 'blocksize', 1), modeOf(c))],
  },
  {
    ops: ['SpaceToDepth'],
    source: moved,
    gradient: (c) => [depthToSpace(c.w, c.dy(0)!, intAttribute(c.node, 'blocksize', 1), 'DCR')],
  },
  {
    ops: ['CumSum'],
    source: 'a number is in all sums from its place on: the gradient is the sum from the other end',
    gradient(c) {
      const turn = 1 - intAttribute(c.node, 'reverse', 0);
      const exclusive = intAttribute(c.node, 'exclusive', 0);
      return [c.w.op('CumSum', [c.dy(0), c.x(1)], c.x(0).dims, { reverse: turn, exclusive })];
    },
  },
];

/** Sizes before and after every axis; undefined where they are computed. */
function padsOf(c: GradientContext): { before: number[]; after: number[] } | undefined {
  const rank = c.x(0).dims.length;
  const pads = intsAttribute(c.node, 'pads') ?? c.numbers(1);
  const axes = c.has(3) ? c.numbers(3)?.map((axis) => fromFront(axis, rank)) : [...Array(rank).keys()];
  if (!pads || !axes) return undefined;
  const side = (from: number): number[] =>
    Array.from({ length: rank }, (_, axis) => pads[from + axes.indexOf(axis)] ?? 0).map((size, axis) => (axes.includes(axis) ? size : 0)); // prettier-ignore
  return { before: side(0), after: side(axes.length) };
}
