import { bitsOf, bitsWork, decoderOpset, spread, spreadWork } from '../decoders.ts';
import type { Encoding, Form } from '../form.ts';
import { packPlanes, planeBytes } from '../planes.ts';
import { makeSource, type Source, type Symbols } from '../source.ts';
import type { Store } from '../store.ts';

/**
 * One bit for each element that says whether it is zero, and the others packed by any form. Where most are zero the mask's own
 * bytes are coded, where almost all are, stored sparse again.
 */
export const sparse: Form = (source, inner) => {
  const counts = source.histogram();
  const zeros = counts === undefined ? countZeros(source.symbols()) : (counts.get(0) ?? 0);
  const share = zeros / Math.max(1, source.count);
  // Below one in thirty-two not even 32-bit values pay for the mask.
  if (share < 1 / 32 || share === 1) return [];
  const rest = counts && new Map([...counts].filter(([symbol]) => symbol !== 0));
  const values = makeSource(source.type, [source.count - zeros], () => source.symbols().filter(isNotZero), rest);
  const mask = makeSource('uint8', [planeBytes(source.count)], () =>
    packPlanes(
      Uint8Array.from(source.symbols(), (symbol) => Number(isNotZero(symbol))),
      1,
    ),
  );
  // Sparse again pays where seven in eight bytes of the mask are zero at least; bytes are unlike enough to be coded from about
  // three zeros in five on, where a mask's entropy is 0.97 bits an element and falls.
  const masks = inner(mask, [
    'plain',
    ...(share > 0.6 ? (['codebook'] as const) : []),
    ...(share > 0.9 ? (['sparse'] as const) : []),
  ]);
  return masks.flatMap((m) =>
    inner(values, ['plain', 'cast', 'bits', 'codebook']).map((v) => ({
      form: 'sparse' as const,
      detail: `${(100 * share).toFixed(1)} % zeros as a ${m.form === 'plain' ? '' : m.form === 'sparse' ? 'sparse ' : 'coded '}bitmask, others as ${v.detail}`,
      opset: Math.max(decoderOpset, v.opset, m.opset),
      length: 8 * mask.count,
      work: m.work + v.work + bitsWork(m.length) + spreadWork(source.type, 8 * mask.count, v.length),
      write: (store) => spread(store, bitsOf(store, bytesOf(store, m, mask)), v.write(store), source.type, 0),
    })),
  );
};

/** The mask's own bytes: what a decoder fills up behind them could ask for values that are not there. */
function bytesOf(store: Store, encoding: Encoding, mask: Source): string {
  const bytes = encoding.write(store);
  const filling = encoding.length - mask.count;
  return filling === 0 ? bytes : (store.split(bytes, [mask.count, filling])[0] as string);
}

const isNotZero = (symbol: number): boolean => symbol !== 0;

function countZeros(symbols: Symbols): number {
  let zeros = 0;
  for (let i = 0; i < symbols.length; i++) if (symbols[i] === 0) zeros++;
  return zeros;
}
