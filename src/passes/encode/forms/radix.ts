import { castTo, decoderOpset, flattened, int32s } from '../decoders.ts';
import type { Form } from '../form.ts';
import type { Source } from '../source.ts';

/**
 * Numbers 0 to base − 1 as digits in that base, as many as a byte holds: five ternary ones (1.6 bits each, where log2 3 is
 * 1.585), three of base 5 or 6. Digit i of byte w is element i · words + w, so that the digits come out in order.
 */
export const radix: Form = (source) => {
  const { least, most } = source.range();
  const base = most + 1;
  const digits = Math.floor(8 / Math.log2(base));
  // In other bases a byte holds no more digits than bits alone would.
  if (source.type !== 'int32' || least < 0 || ![3, 5, 6].includes(base)) return [];
  const words = Math.ceil(source.count / digits);
  return [
    {
      form: 'radix',
      detail: `${digits} digits of base ${base} a byte`,
      opset: decoderOpset,
      length: words * digits,
      work: words * 4 * (1 + 2 * digits),
      write(store) {
        const packed = store.tensor('uint8', [words], () => pack(source, base, words));
        const powers = int32s(...Array.from({ length: digits }, (_, i) => base ** i));
        const numbers = castTo(store, 'int32', packed);
        const quotients = store.node('Div', [numbers, store.shared('int32', [digits, 1], powers)]);
        return flattened(store, store.node('Mod', [quotients, store.shared('int32', [], int32s(base))]));
      },
    },
  ];
};

function pack(source: Source, base: number, words: number): Uint8Array {
  const symbols = source.symbols();
  const packed = new Uint8Array(words);
  for (let i = symbols.length - 1; i >= 0; i--) {
    const word = i % words;
    packed[word] = packed[word]! * base + symbols[i]!;
  }
  return packed;
}
