import { divideByPowerOfTwo, fixedPoint, highMul, shiftedMul } from '../../../src/numerics/requantize/fixed_point.ts';
import { saturatingHighMul } from '../../../src/numerics/requantize/gemmlowp.ts';
import { requantizations } from '../../../src/numerics/requantize/index.ts';
import { approximated, multiplierShift } from '../../../src/numerics/requantize/multiplier_shift.ts';
import type { Add, AddScales, Factor, Rescale, Scheme } from '../../../src/numerics/requantize/scheme.ts';
import * as reference from './reference.ts';

const { int32Max, int32Min } = reference;

/** Ends, halves and what stands beside them, powers of two and seeded random numbers of every size. */
function values(): number[] {
  const edges = [0, 1, 2, 3, int32Max, int32Max - 1, int32Min + 1];
  for (let bit = 1; bit < 31; bit++) edges.push(2 ** bit - 1, 2 ** bit, 2 ** bit + 1, 3 * 2 ** Math.min(bit, 29));
  let state = 1;
  for (let i = 0; i < 500; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    edges.push(Math.abs(state >> (i % 31)));
  }
  return [int32Min, ...edges.flatMap((value) => [value, -value])].map((value) => Math.max(int32Min, Math.min(int32Max, value))); // prettier-ignore
}

const factor = (real: number): Factor => ({ product: [real], over: [1] });
/** Below one, at and above one, tiny ones, float32 neighbours of powers of two, and products of scales as layers have them. */
const reals = [
  0.5, 0.25, 0.75, 2 ** -31, 2 ** -32, 2 ** -20, 0.9999999403953552, 0.49999997, 0.3, 1 / 3, 0.0123, 0.00004567, 0.0009765625,
  7.3e-8,
]; // prettier-ignore
const large = [1, 1.5, 2, 3.7, 100, 255.9];

const named = (name: string): Scheme => requantizations().find((scheme) => scheme.name === name)!;

function rescaled(scheme: Scheme, factors: readonly Factor[], list: readonly number[], inner = 1): number[] {
  const into = new Int32Array(list.length);
  (scheme.rescaler(factors) as Rescale)(Int32Array.from(list), inner, into);
  return [...into];
}

describe('the building blocks', () => {
  it('multiply as SaturatingRoundingDoublingHighMul is published, INT32_MIN² too', () => {
    expect(saturatingHighMul(int32Min, int32Min)).toBe(int32Max);
    const multipliers = [0, 1, -1, 2 ** 30, -(2 ** 30), int32Max, int32Min, 0x40000001, 1431655765, -1431655765];
    const all = values().flatMap((a) => multipliers.map((b) => [a, b] as const));
    const wrong = all.filter(([a, b]) => saturatingHighMul(a, b) !== reference.saturatingRoundingDoublingHighMul(a, b));
    expect(wrong).toEqual([]);
  });

  it('round halves of both signs as it is published', () => {
    // Of the doubled high half, halves go up; of the shift, away from zero.
    expect([1, -1, 3, -3].map((x) => highMul(x, 2 ** 30))).toEqual([1, 0, 2, -1]);
    expect([1, -1, 3, -3, 5, -5].map((x) => divideByPowerOfTwo(x, 1))).toEqual([1, -1, 2, -2, 3, -3]);
    const all = values().flatMap((x) => [0, 1, 2, 7, 8, 15, 16, 30, 31].map((exponent) => [x, exponent] as const));
    const wrong = all.filter(([x, e]) => divideByPowerOfTwo(x, e) !== reference.roundingDivideByPOT(x, e));
    expect(wrong).toEqual([]);
  });

  it('shift 64-bit products exactly', () => {
    const by = [[int32Max, 31], [2 ** 30, 31], [0x40000001, 62], [255, 1], [255, 8], [65535, 16], [65535, 17], [0xffffff, 24], [4294967295, 40]] as const; // prettier-ignore
    for (const [m, s] of by)
      expect(values().filter((x) => shiftedMul(x, m, s) !== reference.roundedShift(x, m, s))).toEqual([]);
  });

  it('take the multiplier and the shift of TensorFlow Lite', () => {
    expect(fixedPoint(factor(0.5))).toEqual({ multiplier: 2 ** 30, shift: 0 });
    expect(fixedPoint(factor(1))).toEqual({ multiplier: 2 ** 30, shift: 1 });
    expect(fixedPoint(factor(0))).toEqual({ multiplier: 0, shift: 0 });
    // Rounds up to 2^31, which becomes 2^30 of one shift more.
    expect(fixedPoint(factor(1 - 2 ** -40))).toEqual({ multiplier: 2 ** 30, shift: 1 });
    expect(fixedPoint(factor(2 ** -32))).toEqual({ multiplier: 2 ** 30, shift: -31 });
    expect(fixedPoint(factor(2 ** -33))).toEqual({ multiplier: 0, shift: 0 });
    for (const real of [...reals, ...large])
      expect(fixedPoint(factor(real))).toEqual(reference.quantizeMultiplier(real));
  });

  it("approximate scales as Distiller's formula says", () => {
    for (const bits of [2, 4, 8, 16, 31])
      for (const real of [...reals, ...large]) {
        const { multiplier, shift } = approximated(real, bits);
        const n = Math.floor(Math.log2((2 ** bits - 1) / real));
        expect([bits, real, shift, multiplier]).toEqual([bits, real, n, Math.floor(2 ** n * real)]);
        expect(multiplier).toBeLessThan(2 ** bits);
      }
  });
});

describe('every scheme', () => {
  const cases: [string, (x: number, real: number) => number, readonly number[]][] = [
    ['gemmlowp', reference.doubleRounding, [...reals, ...large]],
    ['cmsis', reference.cmsisDouble, [...reals, ...large]],
    ['cmsis-single', reference.singleRounding, [...reals, ...large]],
    ['qnnpack-q31', reference.qnnpackQ31, reals],
    ['qnnpack-precise', reference.qnnpackPrecise, reals],
    ['qnnpack-fp32', reference.floatRescale, reals],
    ['onnxruntime', reference.floatRescale, [...reals, ...large]],
  ];
  it.each(cases)('%s is bit for bit its published definition', (name, expected, factors) => {
    const list = values();
    for (const real of factors.map(Math.fround)) {
      const got = rescaled(named(name), [factor(real)], list);
      const wrong = list.findIndex((x, i) => got[i] !== expected(x, real));
      expect([real, list[wrong], got[wrong]]).toEqual([real, undefined, undefined]);
    }
  });

  it('cmsis-single is what CMSIS-NN makes with 32 bits for twice the result, where those hold it', () => {
    for (const real of [...reals, ...large].map(Math.fround)) {
      const list = values().filter((x) => Math.abs(x * real) < 2 ** 30 - 1);
      const wanted = list.map((x) => reference.cmsisSingle(x, real));
      expect(rescaled(named('cmsis-single'), [factor(real)], list)).toEqual(wanted);
    }
  });

  it('shift-m is a multiplication and a rounding shift', () => {
    for (const bits of [4, 8, 16])
      for (const real of [...reals, ...large]) {
        const got = rescaled(multiplierShift(bits), [factor(real)], values());
        const { multiplier, shift } = approximated(real, bits);
        const wanted = values().map((x) => (shift > 0 ? reference.roundedShift(x, multiplier, shift) : x * multiplier * 2 ** -shift)); // prettier-ignore
        expect(got).toEqual(wanted.map((x) => Math.max(int32Min, Math.min(int32Max, x)) + 0));
      }
  });

  it('takes a factor for each channel', () => {
    const factors = [factor(0.5), factor(0.25), factor(0.125)];
    for (const scheme of requantizations()) {
      expect(rescaled(scheme, factors, [80, 80, 80, 80, 80, 80], 1)).toEqual([40, 20, 10, 40, 20, 10]);
      expect(rescaled(scheme, factors, [80, 80, 80, 80, 80, 80, 80, 80], 2)).toEqual([40, 40, 20, 20, 10, 10, 40, 40]);
    }
  });

  it('has a name of its own, and says what it is and where from', () => {
    const schemes = requantizations();
    expect(new Set(schemes.map(({ name }) => name)).size).toBe(schemes.length);
    for (const { summary, source } of schemes) expect(Math.min(summary.length, source.length)).toBeGreaterThan(20);
  });

  it('refuses what it cannot hold in words: QNNPACK factors of 1 and more, gemmlowp such as no shift of 30 bits reaches', () => {
    for (const name of ['qnnpack-q31', 'qnnpack-precise', 'qnnpack-fp32']) {
      expect(named(name).rescaler([factor(0.5), factor(1)])).toMatch(/from 2\^-32 to below 1, and this one is 1$/);
      expect(named(name).rescaler([factor(2 ** -33)])).toMatch(/QNNPACK takes factors/);
    }
    for (const name of ['gemmlowp', 'cmsis', 'cmsis-single']) {
      expect(named(name).rescaler([factor(2 ** 30 - 1)])).toBeInstanceOf(Function);
      expect(named(name).rescaler([factor(0.5), factor(1.25e28)])).toBe(
        'it takes factors below 2^30, and this one is 1.25e+28',
      );
    }
  });
});

describe('addition', () => {
  const scales: AddScales[] = [
    { a: { scale: 0.02, zeroPoint: 3 }, b: { scale: 0.05, zeroPoint: 128 }, sum: { scale: 0.06, zeroPoint: 100 } },
    { a: { scale: 1, zeroPoint: 0 }, b: { scale: 1, zeroPoint: 0 }, sum: { scale: 2, zeroPoint: 0 } },
    { a: { scale: 0.007, zeroPoint: 255 }, b: { scale: 0.3, zeroPoint: 0 }, sum: { scale: 0.25, zeroPoint: 7 } },
  ].map(({ a, b, sum }) => ({ a: single(a), b: single(b), sum: single(sum) }));
  function single<T extends { readonly scale: number }>(code: T): T {
    return { ...code, scale: Math.fround(code.scale) };
  }
  const pairs = Array.from({ length: 65536 }, (_, i) => [i >> 8, i & 255] as const);
  /** All pairs of uint8 codes, as arrays of a type. */
  const codes = (type: new (values: number[]) => Uint8Array | Uint16Array = Uint8Array) =>
    [new type(pairs.map(([a]) => a)), new type(pairs.map(([, b]) => b))] as const;

  it.each<[string, (s: AddScales) => (x: number, y: number) => number]>([
    ['gemmlowp', (s: AddScales) => reference.tfliteAdd(s, reference.doubleRounding)],
    ['cmsis', (s: AddScales) => reference.tfliteAdd(s, reference.cmsisDouble)],
    ['cmsis-single', (s: AddScales) => reference.tfliteAdd(s, reference.singleRounding)],
    ['qnnpack-q31', reference.qnnpackAdd],
  ])('of %s is its published definition, for all codes', (name, expected) => {
    for (const one of scales) {
      const [into, wide] = [new Int32Array(pairs.length), new Int32Array(pairs.length)];
      const add = named(name).adder(one) as Add;
      add(...codes(), into);
      const sum = expected(one);
      const wrong = pairs.findIndex(([a, b], i) => into[i] !== sum(a, b));
      expect([name, pairs[wrong], into[wrong]]).toEqual([name, undefined, undefined]);
      add(...codes(Uint16Array), wide);
      expect(wide.every((value, i) => value === into[i])).toBe(true);
      const [x, y] = [Uint16Array.of(300, 1500), Uint16Array.of(1200, 256)];
      add(x, y, wide.subarray(0, 2));
      expect([...wide.subarray(0, 2)]).toEqual([sum(300, 1200), sum(1500, 256)]);
    }
  });

  it('is within one step of the real sum in every scheme of full precision', () => {
    for (const scheme of requantizations(16))
      for (const one of scales) {
        const into = new Int32Array(pairs.length);
        (scheme.adder(one) as Add)(...codes(), into);
        const { a, b, sum } = one;
        let most = 0;
        for (const [i, [x, y]] of pairs.entries())
          most = Math.max(most, Math.abs(into[i]! - ((x - a.zeroPoint) * a.scale + (y - b.zeroPoint) * b.scale) / sum.scale - sum.zeroPoint)); // prettier-ignore
        // Half a step of rounding, and less than a hundredth for the scale itself.
        expect([scheme.name, most < 0.51]).toEqual([scheme.name, true]);
      }
  });

  it('of 16-bit codes, to their ends, is the published definition too, and none of QNNPACK', () => {
    const [x, y] = [Uint16Array.of(0, 65535, 65535, 40000, 12345), Uint16Array.of(0, 65535, 0, 30001, 54321)];
    for (const scale of scales) {
      const one = { ...scale, wide: true };
      for (const [name, scaled] of [['gemmlowp', reference.doubleRounding], ['cmsis-single', reference.singleRounding]] as const) {
        const into = new Int32Array(x.length);
        (named(name).adder(one) as Add)(x, y, into);
        const sum = reference.tfliteAdd(one, scaled);
        expect([name, ...into]).toEqual([name, ...Array.from(x, (v, i) => sum(v, y[i]!))]);
        // The real sum, to half a step and what 31 bits of the multipliers and two roundings of 15-bit fractions leave.
        for (const [i, value] of into.entries()) {
          const real = ((x[i]! - one.a.zeroPoint) * one.a.scale + (y[i]! - one.b.zeroPoint) * one.b.scale) / one.sum.scale;
          expect(Math.abs(value - one.sum.zeroPoint - real)).toBeLessThan(0.51);
        }
      }
      expect(named('qnnpack-q31').adder(one)).toBe('QNNPACK adds codes of 8 bits, and these have 16');
    }
  }); // prettier-ignore

  it('is refused where QNNPACK cannot hold the ratio', () => {
    const far = { ...scales[0]!, sum: { scale: 1e-6, zeroPoint: 0 } };
    expect(named('qnnpack-fp32').adder(far)).toMatch(/from 2\^-14 to below 256/);
  });
});
