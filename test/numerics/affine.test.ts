import fc from '../helpers/fc.ts';
import { affineFormat, chooseParams, codeArray, codeRange, paramsOfRanges } from '../../src/numerics/affine.ts';
import type { NumberFormat } from '../../src/numerics/format.ts';
import { QtoolError } from '../../src/util/error.ts';

type IntFormat = Extract<NumberFormat, { kind: 'int' }>;
const u8: IntFormat = { kind: 'int', bits: 8, signed: false, symmetric: false };
const s8: IntFormat = { kind: 'int', bits: 8, signed: true, symmetric: true, narrow: true };

describe('codeRange', () => {
  it.each([
    [u8, 0, 255],
    [s8, -127, 127],
    [{ ...s8, narrow: false }, -128, 127],
    [{ ...s8, bits: 7 }, -63, 63],
    [{ ...s8, bits: 2 }, -1, 1],
    [{ ...u8, bits: 16 }, 0, 65535],
  ])('%j', (format, qmin, qmax) => expect(codeRange(format)).toEqual({ qmin, qmax }));

  it('stands in the smallest array', () => {
    expect(codeArray(u8, 1)).toBeInstanceOf(Uint8Array);
    expect(codeArray({ ...s8, bits: 3 }, 1)).toBeInstanceOf(Int8Array);
    expect(codeArray({ ...s8, bits: 9 }, 1)).toBeInstanceOf(Int16Array);
    expect(codeArray({ ...u8, bits: 16 }, 1)).toBeInstanceOf(Uint16Array);
  });

  it('refuses formats without a scale and impossible widths', () => {
    expect(() => affineFormat({ kind: 'float', bits: 32 })).toThrow('float');
    expect(() => affineFormat({ ...u8, bits: 17 })).toThrow('2 to 16 bits');
    expect(affineFormat(u8)).toBe(u8);
  });
});

describe('chooseParams', () => {
  // onnxruntime.quantization.quant_utils.compute_scale_zp (1.31.1) on float32 ranges.
  it.each([
    [-1, 1, u8, 0.007843137718737125, 128],
    [-0.3, 5.7, u8, 0.023529410362243652, 13],
    [0.5, 6, u8, 0.0235294122248888, 0],
    [-6, -0.5, u8, 0.0235294122248888, 255],
    [-1.2, 0.7, s8, 0.009448818862438202, 0],
    [-0.1, 0.9, { ...u8, signed: true }, 0.003921568393707275, -102],
    [-3, 1, { ...u8, symmetric: true }, 0.0235294122248888, 128],
    [-3, 1, { ...u8, bits: 16, symmetric: true }, 0.00009155413135886192, 32768],
    [-3, 1, { ...u8, bits: 4 }, 0.2666666805744171, 11],
    [-3, 1, { ...s8, bits: 4, narrow: false }, 0.4000000059604645, 0],
    [0, 0, u8, 1, 0],
    [0, 0, s8, 1, 0],
    [0, 1e-40, u8, 1, 0],
    [-1e-40, 1e-40, s8, 1, 0],
  ])('[%d, %d] %j', (lo, hi, format, scale, zeroPoint) => {
    expect(chooseParams(Math.fround(lo), Math.fround(hi), format)).toEqual({ scale, zeroPoint });
  });

  it('keeps zero exact, the range covered and the zero point a code', () => {
    const format = fc.record({
      kind: fc.constant('int' as const),
      bits: fc.integer({ min: 2, max: 16 }),
      signed: fc.boolean(),
      symmetric: fc.boolean(),
      narrow: fc.boolean(),
    });
    const end = fc.float({ noNaN: true, noDefaultInfinity: true, min: Math.fround(-1e30), max: Math.fround(1e30) });
    fc.assert(
      fc.property(end, end, format, (a, b, f) => {
        const [lo, hi] = a < b ? [a, b] : [b, a];
        const { scale, zeroPoint } = chooseParams(lo, hi, f);
        const { qmin, qmax } = codeRange(f);
        expect(Number.isInteger(zeroPoint) && zeroPoint >= qmin && zeroPoint <= qmax).toBe(true);
        expect(scale).toBe(Math.fround(scale));
        expect(scale).toBeGreaterThan(0);
        if (scale === 1 && Math.max(-lo, hi) < 1e-30) return;
        // A whole step of slack: the zero point is rounded by up to half a step, and a middle code may be half a code off.
        expect((qmax - zeroPoint + 1) * scale).toBeGreaterThanOrEqual(Math.max(hi, 0));
        expect((qmin - zeroPoint - 1) * scale).toBeLessThanOrEqual(Math.min(lo, 0));
      }),
    );
  });

  it.each([
    [NaN, 1],
    [0, Infinity],
    [-Infinity, 0],
    [1, 0],
  ])('refuses the range %d to %d and names the tensor', (lo, hi) => {
    try {
      chooseParams(lo, hi, u8, 'conv1.weight');
    } catch (error) {
      expect(error).toBeInstanceOf(QtoolError);
      expect(error).toMatchObject({ code: 'data', at: 'conv1.weight' });
      return;
    }
    throw new Error('no error');
  });

  it('chooses for each channel', () => {
    const p = paramsOfRanges([-1, 0], [1, 0], s8, { per: 'channel', axis: 0 });
    expect([...p.scale]).toEqual([Math.fround(1 / 127), 1]);
    expect([...p.zeroPoint]).toEqual([0, 0]);
  });
});
