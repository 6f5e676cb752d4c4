import fc from '../helpers/fc.ts';
import { pack } from '../../src/numerics/pack.ts';
import { unpack } from './reference.ts';

// onnx.proto: "Two 4-bit elements are packed in a byte, the first in the low nibble"; four 2-bit elements likewise.
it.each([
  [Int8Array.of(1, -2, 7), 4 as const, [0xe1, 0x07]],
  [Uint8Array.of(15, 0, 3, 12), 4 as const, [0x0f, 0xc3]],
  [Int8Array.of(0, 1, -1, -2, 1), 2 as const, [0b10110100, 0b01]],
  [Uint8Array.of(3, 2, 1, 0), 2 as const, [0b00011011]],
])('%j at %d bits', (codes, bits, bytes) => {
  expect([...pack(codes, bits)]).toEqual(bytes);
  expect([...unpack(Uint8Array.from(bytes), codes.length, bits, codes instanceof Int8Array)]).toEqual([...codes]);
});

it('round-trips every length', () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 15 })),
      fc.boolean(),
      fc.constantFrom(2 as const, 4 as const),
      (raw, signed, bits) => {
        const codes = raw.map((v) => (v % 2 ** bits) - (signed ? 2 ** (bits - 1) : 0));
        const packed = pack(signed ? Int8Array.from(codes) : Uint8Array.from(codes), bits);
        expect(packed.length).toBe(Math.ceil((codes.length * bits) / 8));
        expect([...unpack(packed, codes.length, bits, signed)]).toEqual(codes);
      },
    ),
  );
});
