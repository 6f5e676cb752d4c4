/**
 * Binary arithmetic coding with adaptive probabilities. What is coded is written once, for both directions: a model asks `Bits` for each
 * bit with its probability and its value; an encoder writes the value and gives it back, a decoder ignores it and gives what it reads.
 */
export interface Bits {
  /** `chance` of a 1 in 1/65536, from 1 to 65535. */
  bit(chance: number, value: number): number;
}

/**
 * A range decoder (Martin 1979, with the arithmetic of LZMA). Past the end it reads zeros, which the encoder leaves out.
 * @param bytes what `encoder` made, whole.
 */
export function decoder(bytes: Uint8Array): Bits {
  // In a typed array: as variables of a closure numbers over 2^31 would be allocated anew at each change.
  const state = Uint32Array.of(1, 0);
  let at = 0;
  return {
    bit(chance) {
      let range = state[0]!;
      let code = state[1]!;
      while (range < 0x1000000) {
        code = ((code << 8) | (at < bytes.length ? bytes[at]! : 0)) >>> 0;
        at++;
        range = (range << 8) >>> 0;
      }
      const bound = Math.imul(range >>> 16, chance) >>> 0;
      const value = code < bound ? 1 : 0;
      state[0] = value ? bound : range - bound;
      state[1] = value ? code : code - bound;
      return value;
    },
  };
}

/** Chances of a 1 in the upper 22 bits, how many bits were seen in the lower 10. */
export type Counters = Int32Array;

export const counters = (size: number): Counters => new Int32Array(size).fill(-0x80000000);

/** How many bits a probability is the mean of; from then on old ones fade. */
const most = 255;
const steps = Int32Array.from({ length: most + 1 }, (_, n) => 16384 / (2 * n + 3));

/** A counter after one bit more: after n bits it moves by 1/(n + 1.5) of its error (Mahoney's lpaq). */
export function learnt(counter: number, value: number, limit = most): number {
  const seen = counter & 1023;
  const move = Math.imul(((value << 22) - (counter >>> 10)) >> 3, steps[seen]!) & 0xfffffc00;
  return (counter + move + (seen < limit ? 1 : 0)) | 0;
}

/** Codes one bit by an adaptive probability. */
export function adaptiveBit(bits: Bits, table: Counters, i: number, value: number): number {
  const coded = bits.bit((table[i]! >>> 16) | 1, value);
  table[i] = learnt(table[i]!, coded);
  return coded;
}

/**
 * Codes whole numbers up to 2^53, small ones and those like earlier ones in few bits: Elias' gamma code by adaptive bits. `about` says which
 * numbers are alike.
 */
export type Numbers = (about: string, value: number) => number;

export function numbers(bits: Bits): Numbers {
  const tables: Record<string, Counters> = {};
  return (about, value) => {
    const table = (tables[about] ??= counters(4096));
    const width = widthOf(value + 1);
    let length = 1;
    for (let k = 5; k >= 0; k--) length = 2 * length + adaptiveBit(bits, table, length, (width >> k) & 1);
    let result = 1;
    for (let k = length - 66; k >= 0; k--)
      result = 2 * result + adaptiveBit(bits, table, 64 * (length - 64) + k, ((value + 1) / 2 ** k) & 1);
    return result - 1;
  };
}

/** Bits of a whole number. */
export const widthOf = (value: number): number =>
  value < 2 ** 32 ? 32 - Math.clz32(value) : 64 - Math.clz32(value / 2 ** 32);
