import { floatAttribute, intAttribute } from '../../graph/attribute.ts';
import { elementCount } from '../../graph/tensor.ts';
import type { GradientContext, GradientRule } from '../rule.ts';
import {
  add,
  fromFront,
  mean,
  mul,
  reshape,
  scaled,
  sub,
  sum,
  unary,
  unbroadcast,
  type GraphWriter,
  type Value,
} from '../writer.ts';

/** x̂ = (x − μ) / σ over some axes: dx = (g − mean(g) − x̂ mean(g x̂)) / σ, where g is the gradient by x̂; `inverse` is 1 / σ. */
function normalized(
  w: GraphWriter,
  g: Value,
  { hat, inverse, axes, centred = true }: { hat: Value; inverse: Value; axes: readonly number[]; centred?: boolean },
): Value {
  const along = mul(w, hat, mean(w, mul(w, g, hat), axes, true));
  return mul(w, inverse, sub(w, centred ? sub(w, g, mean(w, g, axes, true)) : g, along));
}

const inverseRoot = (w: GraphWriter, variance: Value, epsilon: number): Value =>
  unary(w, 'Reciprocal', unary(w, 'Sqrt', add(w, variance, w.scalar(epsilon))));

const lastAxes = (rank: number, axis: number): number[] => Array.from({ length: rank - axis }, (_, i) => axis + i);

const axisOf = (c: GradientContext): number => {
  const rank = c.x(0).dims.length;
  return fromFront(intAttribute(c.node, 'axis', -1), rank);
};

/** Divided by its root mean square, without a mean. */
const rms: GradientRule['gradient'] = (c) => {
  const { w } = c;
  const [x, scale, dy] = [c.x(0), c.x(1), c.dy(0)!];
  const axes = lastAxes(x.dims.length, axisOf(c));
  const inverse = inverseRoot(w, mean(w, mul(w, x, x), axes, true), floatAttribute(c.node, 'epsilon', 1e-5));
  const hat = mul(w, x, inverse);
  return [
    c.needs(0) ? normalized(w, mul(w, dy, scale), { hat, inverse, axes, centred: false }) : undefined,
    c.needs(1) ? unbroadcast(w, mul(w, dy, hat), scale.dims) : undefined,
  ];
};

const source = 'Ba, Kiros and Hinton, Layer normalization (2016), differentiated';

export const normRules: readonly GradientRule[] = [
  {
    ops: ['LayerNormalization'],
    source,
    // Mean and 1 / σ, which the kernel has computed anyway.
    wants: () => [1, 2],
    gradient(c) {
      const { w } = c;
      const [x, scale, dy, inverse] = [c.x(0), c.x(1), c.dy(0)!, c.y(2)];
      const axes = lastAxes(x.dims.length, axisOf(c));
      const hat = mul(w, sub(w, x, c.y(1)), inverse);
      return [
        c.needs(0) ? normalized(w, mul(w, dy, scale), { hat, inverse, axes }) : undefined,
        c.needs(1) ? unbroadcast(w, mul(w, dy, hat), scale.dims) : undefined,
        c.has(2) && c.needs(2) ? unbroadcast(w, dy, c.x(2).dims) : undefined,
      ];
    },
  },
  {
    ops: ['RMSNormalization', 'SimplifiedLayerNormalization', 'com.microsoft.SimplifiedLayerNormalization'],
    source: 'Zhang and Sennrich, Root mean square layer normalization (2019), differentiated',
    gradient: rms,
  },
  {
    ops: ['InstanceNormalization'],
    source: 'Ulyanov, Vedaldi and Lempitsky, Instance normalization (2016), differentiated',
    gradient(c) {
      const { w } = c;
      const [x, dy] = [c.x(0), c.dy(0)!];
      const axes = lastAxes(x.dims.length, 2);
      const wide = [1, x.dims[1]!, ...axes.map(() => 1)];
      const centre = sub(w, x, mean(w, x, axes, true));
      const inverse = inverseRoot(
        w,
        mean(w, mul(w, centre, centre), axes, true),
        floatAttribute(c.node, 'epsilon', 1e-5),
      );
      const hat = mul(w, centre, inverse);
      const overAll = (d: Value): Value => sum(w, sum(w, d, axes), [0]);
      return [
        c.needs(0) ? normalized(w, mul(w, dy, reshape(w, c.x(1), wide)), { hat, inverse, axes }) : undefined,
        c.needs(1) ? overAll(mul(w, dy, hat)) : undefined,
        c.needs(2) ? overAll(dy) : undefined,
      ];
    },
  },
  {
    ops: ['BatchNormalization'],
    source: 'Ioffe and Szegedy, Batch normalization (2015), section 3; with running statistics they are constants',
    refuse: (c) => (c.needs(3) || c.needs(4) ? 'has statistics that are computed' : undefined),
    gradient(c) {
      const { w } = c;
      const [x, dy] = [c.x(0), c.dy(0)!];
      const others = x.dims.map((_, i) => i).slice(2);
      const wide = (v: Value): Value => reshape(w, v, [1, x.dims[1]!, ...others.map(() => 1)]);
      const overAll = (d: Value): Value => sum(w, sum(w, d, others), [0]);
      const training = intAttribute(c.node, 'training_mode', 0) === 1;
      const [mu, variance] = training ? [c.y(1), c.y(2)] : [c.x(3), c.x(4)];
      const inverse = inverseRoot(w, variance, floatAttribute(c.node, 'epsilon', 1e-5));
      const factor = mul(w, c.x(1), inverse);
      const centre = training || c.needs(1) ? sub(w, x, wide(mu)) : undefined;
      const dscale = centre && mul(w, overAll(mul(w, dy, centre)), inverse);
      const dshift = training || c.needs(2) ? overAll(dy) : undefined;
      if (!training || !centre || !dscale || !dshift)
        return [c.needs(0) ? mul(w, dy, wide(factor)) : undefined, dscale, dshift];
      // dx = γ/σ (dy − mean(dy) − x̂ mean(dy x̂)), with everything that is one number a channel put together first.
      const count = elementCount(x.dims) / x.dims[1]!;
      const along = scaled(w, mul(w, mul(w, factor, inverse), dscale), -1 / count);
      const apart = scaled(w, mul(w, factor, dshift), -1 / count);
      const dx = add(w, add(w, mul(w, dy, wide(factor)), mul(w, centre, wide(along))), wide(apart));
      return [c.needs(0) ? dx : undefined, dscale, dshift];
    },
  },
];
