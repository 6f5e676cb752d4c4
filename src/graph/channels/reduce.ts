import { intAttribute, intsAttribute } from '../attribute.ts';
import { constants, positive } from './ints.ts';
import type { Axis, Flow, Rule } from './flow.ts';

/** Sums to which a channel of zeros adds nothing. */
const sums = new Set(['ReduceSum', 'ReduceSumSquare', 'ReduceL1', 'ReduceL2']);

/** Reduces over axes given by attribute or second input; all where none are given. */
export const reduce: Rule = {
  vectors: [1],
  flow(flow) {
    const { node } = flow;
    const xs = flow.axes(0);
    const given = node.input[1] ? constants(flow.ints(1)) : intsAttribute(node, 'axes');
    if (node.input[1] && !given) return flow.freezeAll(`${node.op_type} over axes that are computed`);
    if (!given?.length && intAttribute(node, 'noop_with_empty_axes', 0)) return flow.set(0, xs);
    const over = new Set(given?.length ? given.map((a) => positive(a, xs.length)) : xs.map((_, i) => i));
    over.forEach((axis) => {
      if (sums.has(node.op_type)) flow.site({ input: 0, axis });
      else flow.freeze(xs[axis], `${node.op_type} over it would change`);
    });
    flow.set(0, without(flow, over));
  },
};

/** Softmax and its kin see all indices of their axis at once; before opset 13 all axes from `axis` on. */
export const softmax: Rule = {
  flow(flow) {
    const xs = flow.axes(0);
    const modern = flow.opset >= 13;
    const axis = positive(intAttribute(flow.node, 'axis', modern ? -1 : 1), xs.length);
    xs.forEach((labels, d) => {
      if (d === axis || (!modern && d > axis)) flow.freeze(labels, `${flow.node.op_type} runs over it`);
    });
    flow.set(0, xs);
  },
};

/** Operators whose result at one index of `axis` depends on the others; `reduces`: `keepdims` says whether that axis stays. */
const along = (otherwise: number, reduces: boolean): Rule => ({
  flow(flow) {
    const xs = flow.axes(0);
    const axis = positive(intAttribute(flow.node, 'axis', otherwise), xs.length);
    flow.freeze(xs[axis], `${flow.node.op_type} runs over it`);
    flow.set(0, reduces ? without(flow, new Set([axis])) : xs);
  },
});

export const lpNormalization = along(-1, false);
export const argument = along(0, true);

/** The axes of the first input after reducing over some. */
function without(flow: Flow, over: ReadonlySet<number>): Axis[] {
  const keep = intAttribute(flow.node, 'keepdims', 1);
  return flow.axes(0).flatMap((axis, d): Axis[] => (over.has(d) ? (keep ? [undefined] : []) : [axis]));
}

/** Mean and variance over the last axes: fewer channels, or more zeros, would be another mean. */
export const layerNorm: Rule = {
  flow(flow) {
    const xs = flow.axes(0);
    const axis = positive(intAttribute(flow.node, 'axis', -1), xs.length);
    const why = `${flow.node.op_type} takes its mean over it`;
    xs.slice(axis).forEach((labels) => flow.freeze(labels, why));
    freezeParameters(flow, why);
    flow.set(0, xs);
  },
};

/** Normalizes over channels (axis 1) or groups of them. */
export const acrossChannels: Rule = {
  flow(flow) {
    const xs = flow.axes(0);
    const why = `${flow.node.op_type} runs over it`;
    flow.freeze(xs[1], why);
    freezeParameters(flow, why);
    flow.set(0, xs);
  },
};

function freezeParameters(flow: Flow, why: string): void {
  for (let i = 1; i < flow.node.input.length; i++) flow.axes(i).forEach((labels) => flow.freeze(labels, why));
}
