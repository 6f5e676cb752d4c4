import { adaptiveBit, counters, learnt, type Bits } from '../bits.ts';

/** Bytes after which a match is trusted. */
const sure = 16;
/** Models of contexts, the last of which is the match. */
const models = 10;
/** How fast the weights of models learn. */
const rate = 0.006;
/** After how many bits a counter fades. */
const limit = 30;

/** Log-odds of chances in 1/4096, and chances of log-odds from -12 to 12 in steps of 1/128. */
const stretched = new Float64Array(4096);
const squashed = new Float64Array(3073);
// Only sums, products and quotients, which every JavaScript engine rounds alike: Math.exp and Math.log it may not.
for (let k = 0, power = 1; k < 1537; k++) {
  squashed[1536 + k] = power / (1 + power);
  squashed[1536 - k] = 1 / (1 + power);
  power *= 1.007843097206448; // e^(1/128)
}
for (let n = 0, k = 0; n < 4096; n++) {
  while (squashed[k]! < (n + 0.5) / 4096) k++;
  stretched[n] = k / 128 - 12;
}

/**
 * Codes what of a model is no weights, names and small numbers. Each bit is foretold by what followed the same bytes before, none to six of them,
 * those four and eight back (arrays of numbers), and by the longest match; the chances are mixed as log-odds by weights that learn (Mahoney's
 * PAQ and lpaq).
 * @param bytes what to code; for a decoder room for it.
 */
export function codeText(bits: Bits, bytes: Uint8Array): void {
  const size = Math.min(18, Math.max(14, 36 - Math.clz32(bytes.length)));
  const table = counters((models << size) + 1024);
  const goesOn = counters(1024);
  const contexts = new Int32Array(models);
  const slots = new Int32Array(models);
  const odds = new Float64Array(models);
  const weights = new Float64Array(5 * models).fill(0.3);
  // Where the last six bytes stood before.
  const last = new Int32Array(65536);
  let match = 0;
  let run = 0;
  let misses = 0;
  for (let i = 0; i < bytes.length; i++) {
    const back = (n: number): number => bytes[i - n] ?? 0;
    let hash = 0;
    for (let n = 1; n < 7; n++) contexts[n] = hash = Math.imul(hash + back(n) + 1, 0x2c1b3c6d + n);
    contexts[7] = Math.imul((back(4) << 8) | back(8), 0x297a2d39);
    contexts[8] = Math.imul((back(4) << 8) | back(1), 0x2545f491);
    if (match > 0) {
      const hit = bytes[match++] === back(1);
      run = hit ? Math.min(run + 1, 31) : 0;
      misses = ((misses << 1) | (hit ? 0 : 1)) & 0xffff;
    }
    let missed = 0;
    for (let rest = misses; rest > 0; rest &= rest - 1) missed++;
    // A copy with some bytes changed goes on, as the numbers in names do, while there is no better one.
    const place = hash >>> 16;
    if ((match === 0 || (run < 8 && missed > 5)) && last[place]! > 0) {
      match = last[place]!;
      run = 1;
      misses = missed = 0;
    }
    last[place] = i;
    const given = bytes[i]!;
    const expected = match > 0 ? bytes[match]! : -1;
    // Where a match has held for long, one bit says that it goes on: most of a model of many like layers is coded so, and fast.
    if (run >= sure) {
      const class_ = run > 30 ? 768 : run > 23 ? 512 : missed > 0 ? 256 : 0;
      if (adaptiveBit(bits, goesOn, class_ + expected, given === expected ? 1 : 0)) {
        bytes[i] = expected;
        continue;
      }
    }
    let node = 1;
    for (let k = 7; k >= 0; k--) {
      // The counters of half a byte lie side by side, in one line of the cache.
      const half = 1 << (3 - (k & 3));
      for (let m = 0; m < 9; m++) {
        if (half === 1) contexts[m] = Math.imul(contexts[m]! ^ Math.imul(node, 0x9e3779b1), 0x85ebca6b);
        slots[m] = (m << size) | ((contexts[m]! >>> (32 - size)) & ~15) | half | (node & (half - 1));
      }
      const fits = match > 0 && (expected | 256) >>> (k + 1) === node;
      slots[9] =
        (9 << size) +
        (fits ? ((Math.min(3, missed) * 16 + Math.min(15, run)) * 8 + k) * 2 + ((expected >> k) & 1) : 1023);
      const set = models * (fits ? 1 + (run > 14 ? 3 : run > 5 ? 2 : run > 0 ? 1 : 0) : 0);
      let sum = 0;
      for (let m = 0; m < models; m++) sum += (odds[m] = stretched[table[slots[m]!]! >>> 20]!) * weights[set + m]!;
      const chance = squashed[(Math.max(-11.9, Math.min(11.9, sum)) * 128 + 1536) | 0]!;
      const bit = bits.bit((chance * 65536) | 1, (given >> k) & 1);
      for (let m = 0; m < models; m++) {
        weights[set + m]! += (bit - chance) * rate * odds[m]!;
        table[slots[m]!] = learnt(table[slots[m]!]!, bit, limit);
      }
      node = 2 * node + bit;
    }
    bytes[i] = node;
  }
}
