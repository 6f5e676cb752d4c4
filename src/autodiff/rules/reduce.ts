import { intAttribute, intsAttribute } from '../../graph/attribute.ts';
import { elementCount } from '../../graph/tensor.ts';
import type { GradientContext, GradientRule } from '../rule.ts';
import { div, expand, fromFront, mul, reshape, scaled, sub, sum, unary, type Value } from '../writer.ts';
import { equalTo } from './arithmetic.ts';

/** The axes that are reduced, from the attribute of old operator sets or the input of new ones. */
function axesOf(c: GradientContext): readonly number[] {
  const rank = c.x(0).dims.length;
  const given = intsAttribute(c.node, 'axes') ?? c.numbers(1) ?? [];
  const none = given.length === 0 && intAttribute(c.node, 'noop_with_empty_axes', 0) === 1;
  return given.length > 0 ? given.map((axis) => fromFront(axis, rank)) : none ? [] : [...Array(rank).keys()];
}

interface Reduced {
  readonly c: GradientContext;
  readonly x: Value;
  /** The result and its gradient, of the rank of x. */
  readonly y: Value;
  readonly dy: Value;
  readonly axes: readonly number[];
}

const reduction = (ops: readonly string[], gradient: (r: Reduced) => Value, remark = ''): GradientRule => ({
  ops,
  source: `derivative of the definition in https://onnx.ai/onnx/operators/${remark}`,
  refuse: (c) => (c.has(1) && c.numbers(1) === undefined ? 'has axes that are computed' : undefined),
  gradient(c) {
    const [x, axes] = [c.x(0), axesOf(c)];
    const kept = x.dims.map((size, i) => (axes.includes(i) ? 1 : size));
    return [gradient({ c, x, axes, y: reshape(c.w, c.y(0), kept), dy: reshape(c.w, c.dy(0)!, kept) })];
  },
});

export const reduceRules: readonly GradientRule[] = [
  reduction(['ReduceSum'], ({ c, x, dy }) => expand(c.w, dy, x.dims)),
  reduction(['ReduceMean'], ({ c, x, dy, axes }) =>
    expand(c.w, scaled(c.w, dy, 1 / elementCount(axes.map((axis) => x.dims[axis]!))), x.dims),
  ),
  reduction(['ReduceSumSquare'], ({ c, x, dy }) => mul(c.w, scaled(c.w, x, 2), dy)),
  reduction(['ReduceL1'], ({ c, x, dy }) => mul(c.w, unary(c.w, 'Sign', x), dy)),
  reduction(['ReduceL2'], ({ c, x, y, dy }) => mul(c.w, x, div(c.w, dy, y))),
  reduction(['ReduceLogSum'], ({ c, x, y, dy }) => expand(c.w, div(c.w, dy, unary(c.w, 'Exp', y)), x.dims)),
  reduction(['ReduceLogSumExp'], ({ c, x, y, dy }) => mul(c.w, unary(c.w, 'Exp', sub(c.w, x, y)), dy)),
  reduction(
    ['ReduceMax', 'ReduceMin'],
    ({ c, x, y, dy, axes }) => {
      const mask = equalTo(c.w, x, y);
      return mul(c.w, mask, div(c.w, dy, sum(c.w, mask, axes, true)));
    },
    '; equal ones share it',
  ),
];
