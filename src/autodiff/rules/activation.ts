import { floatAttribute, stringAttribute } from '../../graph/attribute.ts';
import type { GradientContext, GradientRule } from '../rule.ts';
import { add, mul, positive, scaled, sub, unary, unbroadcast, type GraphWriter, type Value } from '../writer.ts';

interface Point {
  readonly c: GradientContext;
  readonly w: GraphWriter;
  readonly x: Value;
  readonly y: Value;
}

/** An operator that works on each number by itself: the derivative at x, where y is the result. */
const pointwise = (op: string, source: string, derivative: (p: Point) => Value): GradientRule => ({
  ops: [op],
  source,
  gradient: (c) => [mul(c.w, c.dy(0)!, derivative({ c, w: c.w, x: c.x(0), y: c.y(0) }))],
});

const one = (w: GraphWriter): Value => w.scalar(1);
const not = (w: GraphWriter, mask: Value): Value => sub(w, one(w), mask);
const sigmoid = (w: GraphWriter, x: Value): Value => unary(w, 'Sigmoid', x);
/** 1 where 0 < y < 1. */
const inside = (w: GraphWriter, y: Value): Value => positive(w, mul(w, y, not(w, y)));
/** a where the mask is 1, b where it is 0. */
const chosen = (w: GraphWriter, mask: Value, a: Value, b: Value): Value =>
  add(w, mul(w, mask, a), mul(w, not(w, mask), b));

const plain = 'derivative of the definition in https://onnx.ai/onnx/operators/; 0 at a kink';

/** What single numbers go through. */
export const activationRules: readonly GradientRule[] = [
  pointwise('Relu', plain, ({ w, y }) => positive(w, y)),
  pointwise('LeakyRelu', plain, ({ c, w, x }) => {
    const alpha = floatAttribute(c.node, 'alpha', 0.01);
    return add(w, scaled(w, positive(w, x), 1 - alpha), w.scalar(alpha));
  }),
  pointwise('ThresholdedRelu', plain, ({ c, w, x }) =>
    positive(w, sub(w, x, w.scalar(floatAttribute(c.node, 'alpha', 1)))),
  ),
  pointwise('Elu', plain, ({ c, w, x, y }) =>
    chosen(w, positive(w, x), one(w), add(w, y, w.scalar(floatAttribute(c.node, 'alpha', 1)))),
  ),
  pointwise('Selu', plain, ({ c, w, x, y }) => {
    const alpha = floatAttribute(c.node, 'alpha', 1.6732631921768188);
    const gamma = floatAttribute(c.node, 'gamma', 1.0507010221481323);
    return chosen(w, positive(w, x), w.scalar(gamma), add(w, y, w.scalar(gamma * alpha)));
  }),
  pointwise('Celu', plain, ({ c, w, x, y }) =>
    chosen(w, positive(w, x), one(w), add(w, scaled(w, y, 1 / floatAttribute(c.node, 'alpha', 1)), one(w))),
  ),
  pointwise('Sigmoid', plain, ({ w, y }) => mul(w, y, not(w, y))),
  pointwise('Tanh', plain, ({ w, y }) => not(w, mul(w, y, y))),
  pointwise('Softplus', plain, ({ w, x }) => sigmoid(w, x)),
  pointwise('Softsign', plain, ({ w, x }) => {
    const shrunk = unary(w, 'Reciprocal', add(w, one(w), unary(w, 'Abs', x)));
    return mul(w, shrunk, shrunk);
  }),
  pointwise('Mish', plain, ({ w, x }) => {
    const t = unary(w, 'Tanh', unary(w, 'Softplus', x));
    return add(w, t, mul(w, mul(w, x, not(w, mul(w, t, t))), sigmoid(w, x)));
  }),
  pointwise('HardSigmoid', plain, ({ c, w, y }) => scaled(w, inside(w, y), floatAttribute(c.node, 'alpha', 0.2))),
  pointwise('HardSwish', plain, ({ w, x }) => {
    const gate = unary(w, 'HardSigmoid', x, { alpha: { float: 1 / 6 }, beta: { float: 0.5 } });
    return add(w, gate, mul(w, scaled(w, x, 1 / 6), inside(w, gate)));
  }),
  pointwise('Erf', plain, ({ w, x }) =>
    scaled(w, unary(w, 'Exp', unary(w, 'Neg', mul(w, x, x))), 2 / Math.sqrt(Math.PI)),
  ),
  pointwise('Gelu', plain, ({ c, w, x }) =>
    stringAttribute(c.node, 'approximate', 'none') === 'tanh' ? geluByTanh(w, x) : geluByErf(w, x),
  ),
  pointwise('com.microsoft.Gelu', plain, ({ w, x }) => geluByErf(w, x)),
  pointwise('com.microsoft.QuickGelu', plain, ({ c, w, x }) => {
    const alpha = floatAttribute(c.node, 'alpha', 1.702);
    const gate = sigmoid(w, scaled(w, x, alpha));
    return mul(w, gate, add(w, one(w), scaled(w, mul(w, x, not(w, gate)), alpha)));
  }),
  {
    ops: ['Clip'],
    source: `${plain}: 0 on the bounds too, since it is told from the output`,
    refuse: (c) =>
      [1, 2].some((i) => c.has(i) && (c.needs(i) || c.constant(i) === undefined))
        ? 'has bounds that are computed'
        : undefined,
    gradient(c) {
      const { w } = c;
      const y = c.y(0);
      const [low, high] = [1, 2].map((i) => c.numbers(i)?.[0]);
      const above = low === undefined ? undefined : low === 0 ? y : sub(w, y, w.scalar(low));
      const below = high === undefined ? undefined : sub(w, w.scalar(high), y);
      const room = above && below ? mul(w, above, below) : (above ?? below);
      return [room ? mul(w, c.dy(0)!, positive(w, room)) : c.dy(0)];
    },
  },
  {
    ops: ['PRelu'],
    source: plain,
    gradient(c) {
      const { w } = c;
      const [x, slope, dy] = [c.x(0), c.x(1), c.dy(0)!];
      const up = positive(w, x);
      return [
        c.needs(0) ? unbroadcast(w, mul(w, dy, chosen(w, up, one(w), slope)), x.dims) : undefined,
        c.needs(1) ? unbroadcast(w, mul(w, dy, mul(w, not(w, up), x)), slope.dims) : undefined,
      ];
    },
  },
];

/** Φ(x) + x φ(x), the derivative of x Φ(x) with the normal distribution. */
function geluByErf(w: GraphWriter, x: Value): Value {
  const cdf = scaled(w, add(w, unary(w, 'Erf', scaled(w, x, Math.SQRT1_2)), one(w)), 0.5);
  const density = scaled(w, unary(w, 'Exp', scaled(w, mul(w, x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI));
  return add(w, cdf, mul(w, x, density));
}

/** Of 0.5 x (1 + t), t = tanh(√(2/π) (x + 0.044715 x³)). */
function geluByTanh(w: GraphWriter, x: Value): Value {
  const root = Math.sqrt(2 / Math.PI);
  const square = mul(w, x, x);
  const t = unary(w, 'Tanh', mul(w, scaled(w, x, root), add(w, one(w), scaled(w, square, 0.044715))));
  const inner = scaled(w, add(w, one(w), scaled(w, square, 3 * 0.044715)), root);
  const slope = mul(w, mul(w, x, not(w, mul(w, t, t))), inner);
  return scaled(w, add(w, add(w, one(w), t), slope), 0.5);
}
