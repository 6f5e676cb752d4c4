import type { Bits } from './bits.ts';

/** Bytes that grow. */
interface Sink {
  put(byte: number): void;
  bytes(): Uint8Array;
}

function sink(): Sink {
  let held = new Uint8Array(1024);
  let length = 0;
  return {
    put(byte) {
      if (length === held.length) {
        const more = new Uint8Array(2 * length);
        more.set(held);
        held = more;
      }
      held[length++] = byte;
    },
    bytes: () => held.slice(0, length),
  };
}

export interface Encoder extends Bits {
  /** What a decoder needs; called once, at the end. */
  finish(): Uint8Array;
}

/** The other side of `decoder`. */
export function encoder(): Encoder {
  const out = sink();
  let low = 0;
  let range = 0x1000000;
  let held = 0;
  let pending = 0;
  // The first two bytes are zeros, whatever is coded.
  let skipped = 0;
  /** The highest byte of `low` can go once no carry can reach it any more. */
  const shift = (): void => {
    if (low < 0xff000000 || low >= 2 ** 32) {
      const carry = low >= 2 ** 32 ? 1 : 0;
      if (skipped++ > 1) out.put((held + carry) & 255);
      for (; pending > 0; pending--) out.put((255 + carry) & 255);
      held = Math.floor(low / 2 ** 24) & 255;
    } else pending++;
    low = (low % 2 ** 24) * 256;
  };
  const narrow = (from: number, width: number): void => {
    low += from;
    for (range = width; range < 0x1000000; range *= 256) shift();
  };
  return {
    bit(chance, value) {
      const bound = (range >>> 16) * chance;
      if (value) narrow(0, bound);
      else narrow(bound, range - bound);
      return value;
    },
    finish() {
      // Of all numbers in the range the one that ends in most zeros: a decoder reads those by itself.
      for (let k = 32; k > 0; k--) {
        const rounded = Math.ceil(low / 2 ** k) * 2 ** k;
        if (rounded < low + range) {
          low = rounded;
          break;
        }
      }
      for (let i = 0; i < 5; i++) shift();
      const bytes = out.bytes();
      let length = bytes.length;
      while (length > 0 && bytes[length - 1] === 0) length--;
      return bytes.subarray(0, length);
    },
  };
}

/** Counts the bits that coding would take, and writes none. */
export function meter(): Bits & { bits(): number } {
  let sum = 0;
  return {
    bit(chance, value) {
      sum -= Math.log2((value ? chance : 65536 - chance) / 65536);
      return value;
    },
    bits: () => sum,
  };
}
