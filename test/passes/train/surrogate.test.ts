import { graphWriter, type Value } from '../../../src/autodiff/writer.ts';
import { makeModel, makeValue } from '../../../src/graph/build.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { writtenFormat } from '../../../src/numerics/formats/written.ts';
import { formatCodes } from '../../../src/numerics/formats/apply.ts';
import { codebook } from '../../../src/passes/train/surrogate/codebook.ts';
import { formatWeights } from '../../../src/passes/train/surrogate/format.ts';
import { signActivations, signWeights } from '../../../src/passes/train/surrogate/sign.ts';
import { ttq } from '../../../src/passes/train/surrogate/ttq.ts';
import { dorefa } from '../../../src/passes/train/surrogate/dorefa.ts';
import { lsq } from '../../../src/passes/train/surrogate/lsq.ts';
import { lsqPlus } from '../../../src/passes/train/surrogate/lsq_plus.ts';
import { recu } from '../../../src/passes/train/surrogate/recu.ts';
import { pact } from '../../../src/passes/train/surrogate/pact.ts';
import { rangeLinear } from '../../../src/passes/train/surrogate/range_linear.ts';
import type { ActivationRounder, Kept, Rounded, WeightRounder } from '../../../src/passes/train/surrogate/surrogate.ts'; // prettier-ignore
import { wrpn } from '../../../src/passes/train/surrogate/wrpn.ts';
import { floats, runModel } from '../../helpers/context.ts';
import { noise } from '../../helpers/models.ts';

/** The rounding of x and its gradients for a gradient dy of y, computed by onnxruntime. */
async function run(
  x: Float32Array,
  dims: readonly number[],
  dy: Float32Array,
  write: (w: ReturnType<typeof graphWriter>, x: Value, kept: (name: string) => Value) => Rounded,
  kept: readonly Kept[] = [],
) {
  const w = graphWriter(new Set(['x', 'dy']));
  const held = new Map(kept.map(({ name, dims: shape }) => [name, { name: `kept_${name}`, dims: shape }]));
  const { y, surrogate, next } = write(w, { name: 'x', dims }, (name) => held.get(name)!);
  const gradients = surrogate.gradient(w, { name: 'dy', dims }, () => true);
  const outputs = [y, ...gradients.map((g) => g!), ...(next?.values() ?? [])];
  const model = makeModel({
    opset: 18,
    inputs: [makeValue('x', 'float32', dims), makeValue('dy', 'float32', dims)],
    outputs: outputs.map((value) => makeValue(value.name, 'float32', value.dims)).filter(({ name }) => name !== 'dy'),
    nodes: w.nodes,
    initializers: [...w.tensors, ...kept.map(({ name, dims: shape, first }) => makeTensor(`kept_${name}`, 'float32', shape, first))], // prettier-ignore
  });
  const feeds = { x: floats(x, dims), dy: floats(dy, dims) };
  const [a, b] = [await runModel(model, feeds, 'disabled'), await runModel(model, feeds, 'all')];
  const of = (value: Value | undefined): number[] => {
    if (value === undefined) return [];
    if (value.name === 'dy') return [...dy];
    const data = [...(a[value.name]!.data as Float32Array)];
    // What is rounded must not depend on the level.
    [...(b[value.name]!.data as Float32Array)].forEach((v, i) => expect(v).toBeCloseTo(data[i]!, 4));
    return data;
  };
  return { y: of(y), gradients: gradients.map((g) => of(g)), next: new Map([...(next ?? [])].map(([name, v]) => [name, of(v)[0]!])) }; // prettier-ignore
}

const weights = (
  rounder: WeightRounder,
  x: Float32Array,
  dims: readonly number[],
  dy: Float32Array,
  axis?: number,
  kept?: readonly Kept[],
) => {
  // prettier-ignore
  const facts = { data: x, dims, axis };
  return run(x, dims, dy, (w, v, k) => rounder.write(w, v, k, facts), kept ?? rounder.keeps(facts));
};
const activations = (rounder: ActivationRounder, x: Float32Array, dy: Float32Array, kept?: readonly Kept[]) => {
  const dims = [4, x.length / 4];
  const facts = { data: x, dims, unsigned: false };
  return run(x, dims, dy, (w, v, k) => rounder.write(w, v, k, facts), kept ?? rounder.keeps(facts));
};

const x = noise(1, 48, 0.6);
const dy = noise(2, 48, 1);
const dims = [4, 12];
const expectNear = (got: readonly number[], wanted: ArrayLike<number>, digits = 5): void => {
  expect(got).toHaveLength(wanted.length);
  Array.from(wanted).forEach((v, i) => expect(got[i]).toBeCloseTo(v, digits));
};
const clip = (v: number, low: number, high: number): number => Math.min(high, Math.max(low, v));
const row = (i: number): number => Math.floor(i / 12);

describe('LSQ (equations 1 to 3 and 5 of the paper)', () => {
  const [qn, qp] = [4, 3];
  const steps = Float32Array.of(0.1, 0.2, 0.3, 0.05);
  const kept: Kept[] = [{ name: 'step', dims: [4, 1], first: steps }];

  test('weights, by channel', async () => {
    const { y, gradients } = await weights(lsq.weights(3), x, dims, dy, 0, kept);
    expectNear(y, x.map((v, i) => Math.round(clip(v / steps[row(i)]!, -qn, qp)) * steps[row(i)]!)); // prettier-ignore
    expectNear(gradients[0]!, dy.map((d, i) => { const v = x[i]! / steps[row(i)]!; return v > -qn && v < qp ? d : 0; })); // prettier-ignore
    const ds = [0, 0, 0, 0];
    x.forEach((v, i) => {
      const r = v / steps[row(i)]!;
      const slope = r <= -qn ? -qn : r >= qp ? qp : Math.round(r) - r;
      ds[row(i)]! += (dy[i]! * slope) / Math.sqrt(12 * qp);
    });
    expectNear(gradients[1]!, ds, 4);
  });

  test('the first step is twice the mean magnitude over √Qp', () => {
    const [{ first }] = lsq.weights(3).keeps({ data: x, dims, axis: undefined }) as [Kept];
    const mean = x.reduce((sum, v) => sum + Math.abs(v), 0) / x.length;
    expect(first[0]).toBeCloseTo((2 * mean) / Math.sqrt(qp), 6);
  });

  test('activations that are never below 0 have codes from 0', () => {
    const facts = { data: x, dims, unsigned: true };
    expect(lsq.activations(4, facts).affine(facts, () => Float32Array.of(0.25))).toEqual({ scale: 0.25, zeroPoint: 0 });
    expect(lsq.activations(4, { ...facts, unsigned: false }).affine(facts, () => Float32Array.of(0.25))).toEqual({ scale: 0.25, zeroPoint: 8 }); // prettier-ignore
  });
});

test('LSQ+ (equations 1 to 5 of the paper): the offset takes the gradients of what is outside', async () => {
  const facts = { data: x, dims, unsigned: false };
  const rounder = lsqPlus.activations(3, facts);
  const [s, offset] = [0.1, -0.32];
  const kept: Kept[] = [['step', s], ['offset', offset]].map(([name, v]) => ({ name: name as string, dims: [], first: Float32Array.of(v as number) })); // prettier-ignore
  const { y, gradients } = await activations(rounder, x, dy, kept);
  const zero = 3;
  const code = (v: number): number => clip(Math.round(v / s) + zero, 0, 7);
  expectNear(y, x.map((v) => (code(v) - zero) * s)); // prettier-ignore
  const at = (v: number): number => v / s + zero;
  const inside = (v: number): boolean => at(v) > 0 && at(v) < 7;
  expectNear(gradients[0]!, dy.map((d, i) => (inside(x[i]!) ? d : 0))); // prettier-ignore
  const g = 1 / Math.sqrt(12 * 7);
  const ds = dy.reduce((sum, d, i) => sum + d * (code(x[i]!) - (inside(x[i]!) ? at(x[i]!) : 0)), 0);
  expect(gradients[1]![0]).toBeCloseTo(g * ds, 4);
  expect(gradients[2]![0]).toBeCloseTo(g * dy.reduce((sum, d, i) => sum + (inside(x[i]!) ? 0 : d), 0), 4);
  expect(rounder.affine(facts, (name) => kept.find((one) => one.name === name)!.first)).toEqual({ scale: Math.fround(s), zeroPoint: zero }); // prettier-ignore
  const first = rounder.keeps(facts).map(({ first: [v] }) => v!);
  expect(first[1]).toBe(Math.min(...x));
  expect(first[0]).toBeCloseTo((Math.max(...x) - Math.min(...x)) / 7, 6);
});

describe('DoReFa (equations 9 and 11 of the paper)', () => {
  const most = Math.max(...x.map((v) => Math.abs(Math.tanh(v))));

  test.each([2, 3, 4, 7])('weights of %i bits, times the largest tangent', async (bits) => {
    const n = 2 ** bits - 1;
    const { y, gradients } = await weights(dorefa.weights(bits), x, dims, dy);
    expectNear(y, x.map((v) => most * ((2 * Math.round(n * (Math.tanh(v) / (2 * most) + 0.5))) / n - 1))); // prettier-ignore
    expectNear(gradients[0]!, dy.map((d, i) => d * (1 - Math.tanh(x[i]!) ** 2))); // prettier-ignore
    const step = dorefa.weights(bits).step!({ data: x, dims, axis: undefined }, () => x)[0]!;
    for (const v of y) expect(Math.abs(v / step - Math.round(v / step))).toBeLessThan(1e-4);
  });

  test('weights of 1 bit: mean magnitude times sign, 0 counts as positive, the gradient goes through whole', async () => {
    const some = x.map((v, i) => (i === 5 ? 0 : v));
    const mean = some.reduce((sum, v) => sum + Math.abs(v), 0) / some.length;
    const { y, gradients } = await weights(dorefa.weights(1), some, dims, dy);
    expectNear(y, some.map((v) => (v >= 0 ? mean : -mean))); // prettier-ignore
    expectNear(gradients[0]!, dy);
  });

  test('activations between 0 and 1', async () => {
    const { y, gradients } = await activations(dorefa.activations(3, { data: x, dims, unsigned: true }), x.map((v) => 3 * v), dy); // prettier-ignore
    expectNear(y, x.map((v) => Math.round(7 * clip(3 * v, 0, 1)) / 7)); // prettier-ignore
    expectNear(gradients[0]!, dy.map((d, i) => (3 * x[i]! > 0 && 3 * x[i]! < 1 ? d : 0))); // prettier-ignore
  });
});

test('WRPN: weights between −1 and 1, n = 2^(k−1) − 1; no gradient outside', async () => {
  const wide = x.map((v) => 3 * v);
  const { y, gradients } = await weights(wrpn.weights(4), wide, dims, dy);
  expectNear(y, wide.map((v) => Math.round(7 * clip(v, -1, 1)) / 7)); // prettier-ignore
  expectNear(gradients[0]!, dy.map((d, i) => (Math.abs(wide[i]!) < 1 ? d : 0))); // prettier-ignore
});

test('PACT (equations 1 to 3): α takes the gradients of what is clipped, and its decay', async () => {
  const [alpha, decay] = [0.5, 0.01];
  const rounder = pact({ first: alpha, decay }).activations(4, { data: x, dims, unsigned: true });
  const { y, gradients } = await activations(rounder, x, dy);
  expectNear(y, x.map((v) => (Math.round((clip(v, 0, alpha) * 15) / alpha) * alpha) / 15)); // prettier-ignore
  expectNear(gradients[0]!, dy.map((d, i) => (x[i]! > 0 && x[i]! < alpha ? d : 0))); // prettier-ignore
  const above = dy.reduce((sum, d, i) => sum + (x[i]! >= alpha ? d : 0), 0);
  expect(gradients[1]![0]).toBeCloseTo(above + 2 * decay * alpha, 5);
  expect(rounder.affine({ data: x, dims, unsigned: true }, () => Float32Array.of(alpha)).scale).toBeCloseTo(alpha / 15, 8); // prettier-ignore
});

describe('range-linear', () => {
  test('weights by their largest magnitude, by channel, the gradient whole', async () => {
    const { y, gradients } = await weights(rangeLinear({ perChannel: true, decay: 0.9 }).weights(4), x, dims, dy, 0);
    const most = [0, 1, 2, 3].map((r) => Math.max(...x.slice(12 * r, 12 * r + 12).map(Math.abs)));
    expectNear(y, x.map((v, i) => (Math.round((v * 7) / most[row(i)]!) * most[row(i)]!) / 7)); // prettier-ignore
    expectNear(gradients[0]!, dy);
  });

  test('activations by averages of their ranges, which are corrected for their beginning', async () => {
    const decay = 0.9;
    const rounder = rangeLinear({ perChannel: false, decay }).activations(8, { data: x, dims, unsigned: false });
    const { y, gradients, next } = await activations(rounder, x, dy);
    const [low, high] = [Math.min(...x, 0), Math.max(...x, 0)];
    expect(next.get('low')).toBeCloseTo((1 - decay) * low, 6);
    expect(next.get('high')).toBeCloseTo((1 - decay) * high, 6);
    expect(next.get('weight')).toBeCloseTo(1 - decay, 6);
    const scale = (high - low) / 255;
    const zero = Math.round(-low / scale);
    expectNear(y, x.map((v) => (clip(Math.round(v / scale) + zero, 0, 255) - zero) * scale), 4); // prettier-ignore
    expectNear(gradients[0]!, dy);
    // The second batch: half as wide; what lies outside of the averaged range has no gradient.
    const kept: Kept[] = ['low', 'high', 'weight'].map((name) => ({ name, dims: [], first: Float32Array.of(next.get(name)! / 2 ** Number(name !== 'weight')) })); // prettier-ignore
    const second = await activations(rounder, x, dy, kept);
    const far = (decay * (high / 2) + high) / (decay + 1);
    expect(Math.max(...second.y)).toBeCloseTo(far, 2);
    x.forEach((v, i) => v > far + scale && expect(second.gradients[0]![i]).toBe(0));
    const affine = rounder.affine({ data: x, dims, unsigned: false }, (name) =>
      Float32Array.of(second.next.get(name)!),
    );
    expect(affine.scale).toBeCloseTo((far - (decay * (low / 2) + low) / (decay + 1)) / 255, 5);
  });

  test('a range that nothing was seen of makes no number of nothing', () => {
    const rounder = rangeLinear({ perChannel: false, decay: 0.9 }).activations(8, { data: x, dims, unsigned: false });
    expect(rounder.affine({ data: x, dims, unsigned: false }, () => new Float32Array(1))).toEqual({ scale: 1, zeroPoint: 0 }); // prettier-ignore
  });
});

describe('signs', () => {
  const wide = x.map((v, i) => (i === 5 ? 0 : 3 * v));
  const sign = (v: number): number => (v >= 0 ? 1 : -1);
  const mean = (r: number): number => wide.slice(12 * r, 12 * r + 12).reduce((sum, v) => sum + Math.abs(v), 0) / 12;

  test('BinaryConnect: −1 and 1; beyond them only what leads back', async () => {
    const { y, gradients } = await weights(signWeights('one', 'bounded'), wide, dims, dy, 0);
    expectNear(y, wide.map(sign)); // prettier-ignore
    // A step is against the gradient: outside, one of the weight's sign leads back.
    expectNear(gradients[0]!, dy.map((d, i) => (Math.abs(wide[i]!) < 1 || d * wide[i]! > 0 ? d : 0))); // prettier-ignore
  });

  test('XNOR-Net (section 3.1): α the mean magnitude of a filter; ∂C/∂W = ∂C/∂W̃ (1/n + α 1[|W| < 1])', async () => {
    const { y, gradients } = await weights(signWeights('mean', 'xnor'), wide, dims, dy, 0);
    expectNear(y, wide.map((v, i) => sign(v) * mean(row(i)))); // prettier-ignore
    expectNear(gradients[0]!, dy.map((d, i) => d * (1 / 12 + (Math.abs(wide[i]!) < 1 ? mean(row(i)) : 0)))); // prettier-ignore
    expect(signWeights('mean', 'xnor').step!({ data: wide, dims, axis: 0 }, () => x)[1]).toBeCloseTo(mean(1), 5);
  });

  test('XNOR-Net++: α learned by channel', async () => {
    const kept: Kept[] = [{ name: 'scale', dims: [4, 1], first: Float32Array.of(0.1, 0.2, 0.3, 0.4) }];
    const { y, gradients } = await weights(signWeights('learned', 'bounded'), wide, dims, dy, 0, kept);
    expectNear(y, wide.map((v, i) => sign(v) * kept[0]!.first[row(i)]!)); // prettier-ignore
    const sums = [0, 0, 0, 0];
    wide.forEach((v, i) => (sums[row(i)]! += sign(v) * dy[i]!));
    expectNear(gradients[1]!, sums, 4);
  });

  test('ReCU (equations 8 to 12): one deviation, held within a quantile of the layer', async () => {
    const tau = 0.85;
    const rounder = recu({ first: tau, last: 0.99 }).weights(1);
    const { y, gradients } = await weights(rounder, x, dims, dy, 0);
    const parts = [0, 1, 2, 3].map((r) => [...x.slice(12 * r, 12 * r + 12)]);
    const average = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
    const roots = parts.map((part) => Math.sqrt(average(part.map((v) => (v - average(part)) ** 2)) + 1e-5));
    const grown = parts.flatMap((part, r) => part.map((v) => ((v - average(part)) * 2 * Math.SQRT2) / roots[r]!));
    const bound = -average(grown.map(Math.abs)) * Math.log(2 - 2 * tau);
    const alpha = parts.map((part) => average(part.map(Math.abs)));
    expectNear(y, grown.map((v, i) => sign(v) * alpha[row(i)]!)); // prettier-ignore
    expectNear(gradients[0]!, dy.map((d, i) => (Math.abs(grown[i]!) <= bound ? (d * alpha[row(i)]! * 2 * Math.SQRT2) / roots[row(i)]! : 0)), 4); // prettier-ignore
    expect(grown.some((v) => Math.abs(v) > bound)).toBe(true);
    const { found } = rounder;
    const at = (done: number): number => found!.find({ data: x, dims, axis: 0 }, () => x, done).get('tau')![0]!;
    expect([at(0), at(1)].map((v) => v.toFixed(4))).toEqual(['0.8500', '0.9900']);
    const a = (0.99 - 0.85) / (Math.E - 1);
    expect(at(0.5)).toBeCloseTo(a * Math.exp(0.5) + 0.85 - a, 6);
  });

  test('Bi-Real: the gradient times the magnitude, within 1', async () => {
    const { gradients } = await weights(signWeights('mean', 'magnitude'), wide, dims, dy, 0);
    expectNear(gradients[0]!, dy.map((d, i) => (Math.abs(wide[i]!) <= 1 ? d * mean(row(i)) : 0))); // prettier-ignore
  });

  test.each(['window', 'triangle'] as const)('activations, gradients by a %s', async (slope) => {
    const { y, gradients } = await activations(signActivations(slope), wide, dy);
    expectNear(y, wide.map((v) => Math.sign(v))); // prettier-ignore
    const through = (v: number): number =>
      slope === 'window' ? Number(Math.abs(v) < 1) : Math.max(0, 2 - 2 * Math.abs(v));
    expectNear(gradients[0]!, dy.map((d, i) => d * through(wide[i]!)), 4); // prettier-ignore
  });
});

test('TTQ (equations 3, 6 and 7 of the paper; the sign of the negative one as its value has it)', async () => {
  const rounder = ttq({ threshold: 0.2 }).weights(2);
  const [p, n] = [0.7, 0.3];
  const kept: Kept[] = [['positive', p], ['negative', n]].map(([name, v]) => ({ name: name as string, dims: [], first: Float32Array.of(v as number) })); // prettier-ignore
  const border = 0.2 * Math.max(...x.map(Math.abs));
  const { y, gradients } = await weights(rounder, x, dims, dy, 0, kept);
  const part = (v: number): number => (v > border ? 1 : v < -border ? -1 : 0);
  expectNear(y, x.map((v) => [-n, 0, p][part(v) + 1]!)); // prettier-ignore
  expectNear(gradients[0]!, dy.map((d, i) => d * [n, 1, p][part(x[i]!) + 1]!)); // prettier-ignore
  const total = (side: number): number => dy.reduce((sum, d, i) => sum + (part(x[i]!) === side ? d : 0), 0);
  expect(gradients[1]![0]).toBeCloseTo(total(1), 4);
  expect(gradients[2]![0]).toBeCloseTo(-total(-1), 4);
});

test('shared weights: the gradient of a value is the sum over the weights that have it, none of 0', async () => {
  const some = x.map((v, i) => (i % 4 === 0 ? 0 : v));
  const rounder = codebook({ start: 'linear', seed: 0 }).weights(2);
  const [values, index] = rounder.keeps({ data: some, dims, axis: 0 }) as [Kept, Kept];
  const { y, gradients } = await weights(rounder, some, dims, dy, 0, [values, index]);
  expectNear(y, some.map((_, i) => values.first[index.first[i]!]!)); // prettier-ignore
  // The nearest of them, found by trying all.
  some.forEach((v, i) => expect(Math.abs(v - y[i]!)).toBeCloseTo(Math.min(...values.first.map((c) => Math.abs(c - v))), 6)); // prettier-ignore
  const sums = Array.from(values.first, (c, k) => (c === 0 ? 0 : dy.reduce((sum, d, i) => sum + (index.first[i] === k ? d : 0), 0))); // prettier-ignore
  expectNear(gradients[0]!, sums, 4);
});

describe('a number format', () => {
  test.each([
    'ternary',
    'binary',
    'int4',
    'apot:bits=3',
    'log2:bits=4',
    'fp4_e2m1',
    'nf4',
    'inq:bits=4',
    'codebook:bits=3',
    'mxfp4',
  ])('%s: as it rounds, by the axis of the outputs; the gradient whole', async (name) => {
    const rounder = formatWeights(writtenFormat.parse(name));
    // [columns, rows]: the outputs along the second axis, as a MatMul has them.
    const facts = { data: x, dims: [12, 4], axis: 1 };
    const [rounded] = rounder.keeps(facts) as [Kept];
    const turned = Float32Array.from(x, (_, i) => x[(i % 12) * 4 + Math.floor(i / 12)]!);
    const { values } = formatCodes(writtenFormat.parse(name), { data: turned, rows: 4, columns: 12, kernel: [] }, {});
    expect([...rounded.first]).toEqual(Array.from(x, (_, i) => values[(i % 4) * 12 + Math.floor(i / 4)]));
    const { y, gradients } = await weights(rounder, x, [12, 4], dy, 1);
    expectNear(y, rounded.first, 7);
    expectNear(gradients[0]!, dy);
    // A step that all values are multiples of, or none.
    rounder.step!(facts, () => rounded.first).forEach((step, c) => {
      if (Number.isNaN(step)) return;
      for (const v of rounded.first.filter((_, i) => i % 4 === c)) expect(Math.abs(v / step - Math.round(v / step))).toBeLessThan(2e-3); // prettier-ignore
    });
  });

  test.each([
    ['ternary', true],
    ['binary', true],
    ['int4', true],
    ['apot:bits=3', true],
    ['nf4', false],
  ] as const)('%s has a step: %s', (name, has) => {
    const rounder = formatWeights(writtenFormat.parse(name));
    const facts = { data: x, dims, axis: 0 };
    const steps = rounder.step!(facts, () => rounder.keeps(facts)[0]!.first);
    expect(steps.every((step) => !Number.isNaN(step))).toBe(has);
  });
});
