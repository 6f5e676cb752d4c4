import type { LayerFact } from './names.ts';

/** PyTorch name → node, or why the names cannot be told apart by their order alone. */
export type OrderMap = { readonly mapping: ReadonlyMap<string, LayerFact> } | { readonly refused: string };

/**
 * Matches parameter names with nodes by order, for files whose exporter renamed everything (`Conv_0`, `onnx::Conv_760`): the
 * first name is the first layer with weights, and so on. Only done where there are as many names as such layers; anything
 * else would be a guess.
 *
 * @param names distinct parameter names as the schedule writes them, in the order of the file
 * @param layers the nodes with weights that no other name means, in graph order
 */
export function mapByOrder(names: readonly string[], layers: readonly LayerFact[]): OrderMap {
  if (names.length === 0) return { mapping: new Map() };
  if (names.length !== layers.length)
    return {
      refused: `the file's names say nothing of it, and ${names.length} names for ${layers.length} layers cannot be matched by order`,
    };
  const sorted = networkOrder(names);
  return { mapping: new Map(sorted.map((name, i) => [name, layers[i]!])) };
}

// The stem comes before the blocks and the classifier after them, in whatever order a schedule names them.
const first = /^(conv|stem|embed|embedding|features)$/;
const last = /^(fc|linear|classifier|head|output|out)$/;

/**
 * PyTorch parameter names in the order in which the network has them: numbers in a name count up (`layer1.2` < `layer1.10`),
 * stems stand first and classifiers last, other words by their first mention.
 */
export function networkOrder(names: readonly string[]): string[] {
  const parts = new Map(names.map((name) => [name, split(name)]));
  const mention = new Map<string, number>();
  for (const [i, list] of [...parts.values()].entries())
    for (let n = 1; n <= list.length; n++) {
      const prefix = list.slice(0, n).join(' ');
      if (!mention.has(prefix)) mention.set(prefix, i);
    }
  return [...names].sort((a, b) => {
    const [x, y] = [parts.get(a)!, parts.get(b)!];
    const at = x.findIndex((part, i) => part !== y[i]);
    if (at < 0) return x.length - y.length;
    const [p, q] = [x[at], y[at]];
    if (p === undefined || q === undefined) return p === undefined ? -1 : 1;
    if (/^\d+$/.test(p) && /^\d+$/.test(q)) return Number(p) - Number(q);
    const rank = (word: string): number => (at > 0 ? 1 : first.test(word) ? 0 : last.test(word) ? 2 : 1);
    const seen = (list: readonly string[]): number => mention.get(list.slice(0, at + 1).join(' ')) ?? 0;
    return rank(p) - rank(q) || seen(x) - seen(y);
  });
}

// layer1.0.conv2.weight → layer 1 0 conv 2 weight: words and numbers are told apart.
function split(name: string): string[] {
  const bare = name.replace(/(^|\.)module\./g, '$1').replace(/\.weight$/, '');
  return bare.split('.').flatMap((segment) => segment.match(/\d+|\D+/g) ?? []);
}
