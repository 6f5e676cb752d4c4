import { fromFloat16, toFloat16 } from '../../src/numerics/float16.ts';
import { runOperator } from './ort.ts';

const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
const notNaN = (bits: Uint16Array, exponent: number) => bits.filter((b) => (b & 0x7fff) <= exponent);

/** Every half, the midpoint to the next one, that midpoint's neighbours, and float32 patterns all over the range. */
function boundaries(of: Float32Array): Float32Array {
  const bits = new Uint32Array(of.buffer);
  const out: number[] = [];
  const words = new Uint32Array(1);
  const single = new Float32Array(words.buffer);
  const push = (word: number) => {
    words[0] = word;
    if (!Number.isNaN(single[0])) out.push(single[0] as number);
  };
  for (let i = 0; i + 1 < of.length; i += 5) {
    const middle = Math.floor(((bits[i] as number) + (bits[i + 1] as number)) / 2);
    for (const word of [bits[i] as number, middle - 1, middle, middle + 1]) push(word);
  }
  for (let i = 0; i < 20000; i++) push(Math.imul(i, 2654435761));
  return Float32Array.from(out);
}

describe('float16', () => {
  it('reads all 65,536 patterns as onnxruntime does', async () => {
    const theirs = await runOperator('Identity', [{ type: 'float16', dims: [65536], data: all }], {}, 'float32');
    // toEqual holds NaN equal to NaN, whatever its payload.
    expect(Array.from(fromFloat16(all))).toEqual(Array.from(theirs as Float32Array));
  });
  it('writes every pattern back', () => {
    const numbers = notNaN(all, 0x7c00);
    expect(toFloat16(fromFloat16(numbers))).toEqual(numbers);
    expect(toFloat16(Float32Array.of(NaN))[0]).toBe(0x7e00);
  });
  it('rounds to nearest even, overflows and underflows as onnxruntime does', async () => {
    const x = boundaries(fromFloat16(notNaN(all, 0x7c00)));
    const theirs = await runOperator('Identity', [{ type: 'float32', dims: [x.length], data: x }], {}, 'float16');
    expect(Array.from(toFloat16(x))).toEqual(
      Array.from(new Uint16Array(theirs.buffer as ArrayBuffer, theirs.byteOffset, x.length)),
    );
  });
});
