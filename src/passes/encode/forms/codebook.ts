import { must } from '../../../util/must.ts';
import { bytesEach, decoderOpset, lookUp } from '../decoders.ts';
import type { Form } from '../form.ts';
import { makeSource, type Source, type Symbols } from '../source.ts';

/**
 * A table of the values that occur, and for each element an index: GatherElements(table, index). Frequent values come first,
 * which makes indices small: what Rice codes want.
 */
export const codebook: Form = (source, inner) => {
  const counts = source.histogram();
  if (counts === undefined || counts.size * 2 > source.count) return [];
  const order = [...counts].sort(([a, n], [b, m]) => m - n || Math.abs(a) - Math.abs(b) || b - a);
  const ranked = new Map(order.map(([, n], i) => [i, n]));
  const indices = makeSource('int32', source.dims, () => ranksOf(source, order), ranked);
  return inner(indices, ['bits', 'cast', 'radix', 'rice']).map((index) => ({
    form: index.form === 'rice' || index.form === 'radix' ? index.form : 'codebook',
    detail: `table of ${order.length}, ${index.detail}`,
    opset: Math.max(decoderOpset, index.opset),
    length: index.length,
    work: index.work + index.length * bytesEach(source.type),
    write: (store) =>
      lookUp(
        store,
        source.type,
        order.map(([symbol]) => symbol),
        index.write(store),
      ),
  }));
};

function ranksOf(source: Source, order: readonly (readonly [number, number])[]): Symbols {
  const rank = new Map(order.map(([symbol], i) => [symbol, i]));
  const symbols = source.symbols();
  const ranks = new Uint16Array(symbols.length);
  for (let i = 0; i < symbols.length; i++) ranks[i] = must(rank, symbols[i]!, 'the rank of symbol');
  return ranks;
}
