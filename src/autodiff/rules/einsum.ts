import { stringAttribute } from '../../graph/attribute.ts';
import type { GradientContext, GradientRule } from '../rule.ts';
import { expand, reshape, type Value } from '../writer.ts';

/** The letters of every operand and of the result; undefined where the equation has "...". */
function lettersOf(c: GradientContext): { operands: string[]; result: string } | undefined {
  const equation = stringAttribute(c.node, 'equation', '').replaceAll(' ', '');
  if (equation.includes('.')) return undefined;
  const [left, right] = equation.split('->') as [string, string?];
  // Without an arrow: what occurs once, in alphabetical order.
  const once = [...left.replaceAll(',', '')].filter((letter, i, all) => all.indexOf(letter) === i && all.lastIndexOf(letter) === i); // prettier-ignore
  return { operands: left.split(','), result: right ?? once.sort().join('') };
}

/** Sums of products over letters: the gradient by one operand is such a sum of dY and of the other operands. */
export const einsumRule: GradientRule = {
  ops: ['Einsum'],
  source: 'https://onnx.ai/onnx/operators/onnx__Einsum.html, differentiated',
  refuse(c) {
    const letters = lettersOf(c);
    if (!letters) return 'has "..." in its equation';
    if (letters.operands.some((own) => new Set(own).size < own.length)) return 'reads a diagonal';
    const sizes = new Map<string, number>();
    const apart = letters.operands.some((own, i) =>
      [...own].some((letter, axis) => {
        const size = c.x(i).dims[axis]!;
        const known = sizes.get(letter) ?? size;
        sizes.set(letter, known);
        return known !== size;
      }),
    );
    return apart ? 'repeats an operand along an axis of size 1' : undefined;
  },
  gradient(c) {
    const { operands, result } = lettersOf(c)!;
    return operands.map((own, i) => {
      if (!c.needs(i)) return undefined;
      const { dims } = c.x(i);
      const others = operands.map((letters, j) => ({ letters, value: c.x(j) })).filter((_, j) => j !== i);
      const parts: { letters: string; value: Value }[] = [{ letters: result, value: c.dy(0)! }, ...others];
      const read = new Set(parts.flatMap(({ letters }) => [...letters]));
      const kept = [...own].filter((letter) => read.has(letter));
      const equation = `${parts.map(({ letters }) => letters).join()}->${kept.join('')}`;
      const shape = kept.map((letter) => dims[own.indexOf(letter)]!);
      const part = c.w.op('Einsum', parts.map(({ value }) => value), shape, { equation }); // prettier-ignore
      // What the operand alone has was summed over: every place has the same gradient.
      const wide = [...own].map((letter, axis) => (read.has(letter) ? dims[axis]! : 1));
      return expand(c.w, reshape(c.w, part, wide), dims);
    });
  },
};
