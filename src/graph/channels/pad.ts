import { intsAttribute, stringAttribute } from '../attribute.ts';
import { constants, positive } from './ints.ts';
import { intsOf, range, type Axis, type Flow, type Rule } from './flow.ts';

/** Amounts before and after, one an axis; undefined where they are computed. */
function padAmounts(
  read: Pick<Flow, 'node' | 'ints'>,
  rank: number,
): { before: number[]; after: number[] } | undefined {
  const { node } = read;
  const pads = intsAttribute(node, 'pads') ?? intsAttribute(node, 'paddings') ?? constants(read.ints(1));
  const axes = node.input[3] ? constants(read.ints(3)) : range(0, rank);
  if (!pads || !axes) return undefined;
  const [before, after] = [range(0, rank).map(() => 0), range(0, rank).map(() => 0)];
  axes.forEach((a, i) => {
    before[positive(a, rank)] = pads[i]!;
    after[positive(a, rank)] = pads[i + axes.length]!;
  });
  return { before, after };
}

/** Padding a channel axis makes channels of its own: a shortcut that gains channels (option A of ResNet) pads with zeros. */
export const pad: Rule = {
  vectors: [1, 3],
  flow(flow) {
    const [x, xs] = [flow.dims(0), flow.axes(0)];
    const amounts = x && padAmounts(flow, x.length);
    if (!amounts) return flow.freezeAll('Pad by computed amounts');
    const constant = stringAttribute(flow.node, 'mode', 'constant') === 'constant';
    const axes = xs.map((axis, d): Axis => {
      const [b, e] = [amounts.before[d]!, amounts.after[d]!];
      if (axis === undefined || (b === 0 && e === 0)) return axis;
      if (!constant) {
        flow.freeze(axis, 'Pad repeats it');
        return undefined;
      }
      const own = axis.subarray(Math.max(0, -b), axis.length - Math.max(0, -e));
      return Int32Array.from([...flow.fresh(Math.max(0, b)), ...own, ...flow.fresh(Math.max(0, e))]);
    });
    flow.set(0, axes);
  },
  fix(cut) {
    const [x, y] = [cut.node.input[0]!, cut.node.output[0]!];
    const old = cut.oldDims(x);
    const read = { node: cut.node, ints: (i: number) => intsOf(cut, i) };
    const amounts = padAmounts(read, old.length);
    if (!amounts) return;
    const kept = (value: string, d: number): readonly number[] => [
      ...(cut.kept(value, d) ?? range(0, cut.oldDims(value)[d]!)),
    ];
    const within = (value: string, d: number, from: number, to: number): number =>
      kept(value, d).filter((k) => k >= from && k < to).length;
    const now = old.map((size, d) => {
      const [b, e] = [amounts.before[d]!, amounts.after[d]!];
      const grown = cut.oldDims(y)[d]!;
      return {
        before: b >= 0 ? within(y, d, 0, b) : -within(x, d, 0, -b),
        after: e >= 0 ? within(y, d, grown - e, grown) : -within(x, d, size + e, size),
      };
    });
    const axes = cut.node.input[3] ? constants(read.ints(3))! : range(0, old.length);
    const at = axes.map((a) => now[positive(a, old.length)]!);
    if (old.every((_, d) => now[d]?.before === amounts.before[d] && now[d]?.after === amounts.after[d])) return;
    const pads = [...at.map((p) => p.before), ...at.map((p) => p.after)];
    if (intsAttribute(cut.node, 'pads')) cut.draft.setAttribute(cut.node, 'pads', pads);
    else cut.vector(1, pads);
  },
};
