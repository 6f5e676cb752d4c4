import {
  bitsOf,
  bitsWork,
  bytesEach,
  decoderOpset,
  lookUp,
  numbersOf,
  numbersWork,
  spread,
  spreadWork,
  castTo,
} from '../decoders.ts';
import type { Encoding, Form } from '../form.ts';
import { bitsFor, packPlanes, planeBytes } from '../planes.ts';
import type { Source } from '../source.ts';
import type { Store } from '../store.ts';

/**
 * Rice codes (Golomb 1966, Rice 1979), laid out so that vector operators decode them: number = quotient · 2^s + low bits.
 * The low bits of all numbers stand in planes; the quotient is unary, digit k of all numbers that have one in a mask of its
 * own, as in a wavelet tree (Grossi, Gupta and Vitter 2003); what is left after the last mask has a fixed width. Quantized
 * weights are far from uniform, so this comes within a few per cent of their entropy.
 */
export const rice: Form = (source) => {
  const counts = source.histogram();
  const { least, most } = source.range();
  if (source.type !== 'int32' || counts === undefined || least < 0 || most < 2) return [];
  const reached = new Float64Array(most + 2);
  for (let k = most; k >= 0; k--) reached[k] = reached[k + 1]! + (counts.get(k) ?? 0);
  const found = maskChoices.flatMap((masks) => bestLow(reached, masks) ?? []);
  return found.map((layout) => encoding(source, layout, reached));
};

/** Each mask costs some hundred bytes of nodes, and time and memory when the session is created. */
const maskChoices = [1, 2, 3, 4, 5, 6, 8] as const;

interface Layout {
  readonly masks: number;
  readonly low: number;
  /** Bits of what is left after the last mask, at least 1. */
  readonly rest: number;
}

/** Numbers of at least k: reached[k]. */
type Reached = Float64Array;

/** The low bits that make it smallest with so many masks; undefined where there is no use for so many. */
function bestLow(reached: Reached, masks: number): Layout | undefined {
  const most = reached.length - 2;
  let best: Layout | undefined;
  let fewest = Infinity;
  for (let low = 0; low <= 7 && masks * 2 ** low < most; low++) {
    const layout = { masks, low, rest: bitsFor(Math.floor(most / 2 ** low) - masks) };
    if (layout.rest < 1 || layout.rest > 7) continue;
    const bytes = streams(layout, reached).reduce((sum, { planes, count }) => sum + planes * planeBytes(count), 0);
    if (bytes < fewest) [fewest, best] = [bytes, layout];
  }
  return best;
}

interface Stream {
  readonly planes: number;
  readonly count: number;
}

/** Masks from the outermost on, what is left after them, low bits if there are any. */
function streams({ masks, low, rest }: Layout, reached: Reached): Stream[] {
  const at = (mask: number): number => reached[mask * 2 ** low]!;
  return [
    ...Array.from({ length: masks }, (_, mask) => ({ planes: 1, count: at(mask) })),
    { planes: rest, count: at(masks) },
    ...(low > 0 ? [{ planes: low, count: at(0) }] : []),
  ];
}

function encoding(source: Source, layout: Layout, reached: Reached): Encoding {
  const { low, masks } = layout;
  const all = streams(layout, reached).map((s) => ({ ...s, bytes: s.planes * planeBytes(s.count) }));
  const total = all.reduce((sum, { bytes }) => sum + bytes, 0);
  const type = reached.length - 2 > 255 ? 'int32' : 'uint8';
  const plural = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;
  return {
    form: 'rice',
    detail: `Rice code of ${plural(low, 'low bit')} and ${plural(masks, 'mask')}`,
    opset: decoderOpset,
    length: 8 * planeBytes(source.count),
    work: workOf(layout, all, type),
    write(store) {
      const packed = store.tensor('uint8', [total], () => pack(source, layout, total));
      const bits = bitsOf(store, packed);
      const pieces = store.split(
        bits,
        all.map(({ bytes }) => 8 * bytes),
      );
      return decode(store, pieces, layout, type);
    },
  };
}

/** Quotients are multiplied by 2^low as they are found, so that the low bits have only to be added. */
function decode(
  store: Store,
  pieces: readonly string[],
  { masks, low, rest }: Layout,
  type: 'uint8' | 'int32',
): string {
  const left = Array.from({ length: 2 ** rest }, (_, n) => (masks + n) * 2 ** low);
  let quotients = lookUp(
    store,
    type,
    type === 'uint8' ? left.map((n) => n & 255) : left,
    numbersOf(store, pieces[masks] as string, rest),
  );
  for (let mask = masks - 1; mask >= 0; mask--)
    quotients = spread(store, pieces[mask] as string, quotients, type, mask * 2 ** low);
  const whole = type === 'int32' ? quotients : castTo(store, 'int32', quotients);
  return low === 0 ? whole : store.node('Add', [whole, numbersOf(store, pieces[masks + 1] as string, low)]);
}

function workOf(
  { masks, low, rest }: Layout,
  all: readonly (Stream & { readonly bytes: number })[],
  type: 'uint8' | 'int32',
): number {
  const total = all.reduce((sum, { bytes }) => sum + bytes, 0);
  const [first, left] = [all[0] as Stream, all[masks] as Stream];
  let work = bitsWork(total) + 8 * total + numbersWork(rest, left.count) + bytesEach(type) * left.count;
  for (let mask = 0; mask < masks; mask++)
    work += spreadWork(type, (all[mask] as Stream).count, (all[mask + 1] as Stream).count);
  return work + 4 * first.count + (low > 0 ? numbersWork(low, first.count) + 4 * first.count : 0);
}

function pack(source: Source, { masks, low, rest }: Layout, total: number): Uint8Array {
  const symbols = source.symbols();
  const packed = new Uint8Array(total);
  let at = 0;
  const put = (planes: Uint8Array): void => {
    packed.set(planes, at);
    at += planes.length;
  };
  for (let mask = 0; mask < masks; mask++)
    put(
      packPlanes(
        quotients(symbols, low, mask).map((q) => Math.min(q, 1)),
        1,
      ),
    );
  put(packPlanes(quotients(symbols, low, masks), rest));
  if (low > 0) put(packPlanes(symbols, low));
  return packed;
}

/** Quotient − `from` of the numbers whose quotient is at least `from`, in order. */
function quotients(symbols: ArrayLike<number>, low: number, from: number): Int32Array {
  const result = new Int32Array(symbols.length);
  let length = 0;
  for (let i = 0; i < symbols.length; i++) {
    const quotient = symbols[i]! >> low;
    if (quotient >= from) result[length++] = quotient - from;
  }
  return result.subarray(0, length);
}
