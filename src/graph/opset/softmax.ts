import { intAttribute, makeAttribute } from '../attribute.ts';
import { makeNode } from '../build.ts';
import type { Adapter } from './site.ts';

/**
 * Softmax, LogSoftmax and Hardmax 11 → 13. Before, the input was flattened to two axes at `axis` (default 1) and the second
 * normalized; now `axis` alone is (default -1). The same where everything behind `axis` has length 1; else the flattening is
 * written out.
 */
export const softmax13: Adapter = (node, site) => {
  const [x = ''] = node.input;
  const axis = intAttribute(node, 'axis', 1);
  const others = node.attribute.filter((a) => a.name !== 'axis');
  const along = (value: number) => [...others, makeAttribute('axis', value)];
  const rank = site.rank(x);
  if (axis === -1 || axis + 1 === rank) return { fields: { attribute: along(-1) } };
  const behind = site.dims(x)?.slice((axis < 0 ? axis + (rank ?? 0) : axis) + 1);
  if (behind?.every((dim) => dim === 1)) return { fields: { attribute: along(axis) } };
  const base = node.output[0] ?? '';
  const fresh = (what: string): string => site.fresh(`${base}_${what}`);
  const [flat, result, shape] = [fresh('flat'), fresh('rows'), fresh('shape')];
  return {
    before: [makeNode('Flatten', [x], [flat], { axis }), makeNode('Shape', [x], [shape])],
    fields: { input: [flat], output: [result], attribute: along(-1) },
    after: [makeNode('Reshape', [result, shape], [base])],
  };
};
