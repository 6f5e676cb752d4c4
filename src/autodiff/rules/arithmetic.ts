import type { GradientContext, GradientRule } from '../rule.ts';
import { add, div, mul, scaled, sub, unary, unbroadcast, type GraphWriter, type Value } from '../writer.ts';

const plain = 'derivative of the definition in https://onnx.ai/onnx/operators/';

const pointwise = (op: string, gradient: (w: GraphWriter, dy: Value, x: Value, y: Value) => Value): GradientRule => ({
  ops: [op],
  source: plain,
  gradient: (c) => [gradient(c.w, c.dy(0)!, c.x(0), c.y(0))],
});

/** The operands of an operator that takes any number of them, each with its gradient as broadcast. */
const operands = (c: GradientContext, gradient: (i: number) => Value): (Value | undefined)[] =>
  c.node.input.map((_, i) => (c.needs(i) ? unbroadcast(c.w, gradient(i), c.x(i).dims) : undefined));

/** 1 where x is the extreme y; where several are, they share the gradient, as in PyTorch's amax. */
export function equalTo(w: GraphWriter, x: Value, y: Value): Value {
  const { name, dims } = w.op('Equal', [x, y], y.dims.length > x.dims.length ? y.dims : x.dims.map((size, i) => Math.max(size, y.dims[i - x.dims.length + y.dims.length] ?? 1))); // prettier-ignore
  return w.op('Cast', [{ name, dims }], dims, { to: 1 });
}

/** Sums, products and functions of single numbers. */
export const arithmeticRules: readonly GradientRule[] = [
  { ops: ['Add', 'Sum'], source: plain, gradient: (c) => operands(c, () => c.dy(0)!) },
  { ops: ['Mean'], source: plain, gradient: (c) => operands(c, () => scaled(c.w, c.dy(0)!, 1 / c.node.input.length)) },
  { ops: ['Sub'], source: plain, gradient: (c) => operands(c, (i) => (i === 0 ? c.dy(0)! : unary(c.w, 'Neg', c.dy(0)!))) }, // prettier-ignore
  { ops: ['Mul'], source: plain, gradient: (c) => operands(c, (i) => mul(c.w, c.dy(0)!, c.x(1 - i))) },
  {
    ops: ['Div'],
    source: plain,
    gradient: (c) =>
      operands(c, (i) => {
        const { w } = c;
        const dy = c.dy(0)!;
        return i === 0 ? div(w, dy, c.x(1)) : unary(w, 'Neg', div(w, mul(w, dy, c.y(0)), c.x(1)));
      }),
  },
  {
    ops: ['Pow'],
    source: plain,
    refuse: (c) => (c.needs(1) ? 'has an exponent that would have to be trained' : undefined),
    gradient(c) {
      const { w } = c;
      const [x, exponent, dy] = [c.x(0), c.x(1), c.dy(0)!];
      // Of a square it is exact also where x is 0, which 0 to the power 1 may not be in every runtime.
      const slope =
        c.numbers(1)?.every((one) => one === 2) === true
          ? scaled(w, x, 2)
          : mul(w, w.op('Pow', [x, sub(w, exponent, w.scalar(1))], c.y(0).dims), exponent);
      return [unbroadcast(w, mul(w, dy, slope), x.dims)];
    },
  },
  {
    ops: ['Max', 'Min'],
    source: `${plain}; operands that are equal share it`,
    gradient(c) {
      const { w } = c;
      const masks = c.node.input.map((_, i) => equalTo(w, c.x(i), c.y(0)));
      const shared = div(
        w,
        c.dy(0)!,
        masks.reduce((a, b) => add(w, a, b)),
      );
      return operands(c, (i) => mul(w, shared, masks[i]!));
    },
  },
  {
    ops: ['Where'],
    source: plain,
    gradient(c) {
      const { w } = c;
      const dy = c.dy(0)!;
      const [condition, zero] = [c.x(0), w.scalar(0)];
      const part = (i: number): Value =>
        unbroadcast(w, w.op('Where', [condition, ...(i === 1 ? [dy, zero] : [zero, dy])], dy.dims), c.x(i).dims);
      return [undefined, c.needs(1) ? part(1) : undefined, c.needs(2) ? part(2) : undefined];
    },
  },
  pointwise('Neg', (w, dy) => unary(w, 'Neg', dy)),
  pointwise('Abs', (w, dy, x) => mul(w, dy, unary(w, 'Sign', x))),
  pointwise('Exp', (w, dy, _, y) => mul(w, dy, y)),
  pointwise('Log', (w, dy, x) => div(w, dy, x)),
  pointwise('Sqrt', (w, dy, _, y) => div(w, scaled(w, dy, 0.5), y)),
  pointwise('Reciprocal', (w, dy, _, y) => unary(w, 'Neg', mul(w, dy, mul(w, y, y)))),
  pointwise('Sin', (w, dy, x) => mul(w, dy, unary(w, 'Cos', x))),
  pointwise('Cos', (w, dy, x) => unary(w, 'Neg', mul(w, dy, unary(w, 'Sin', x)))),
];
