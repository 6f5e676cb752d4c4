import { attribute, intsAttribute } from '../attribute.ts';
import { constants, positive, sliceIndices } from './ints.ts';
import { intsOf, pick, range, type Axis, type Flow, type Rule } from './flow.ts';

/** Slice's numbers per axis, from attributes (opset < 10) or inputs; undefined where they are computed. */
function sliceRanges(read: Pick<Flow, 'node' | 'ints'>, rank: number) {
  const { node } = read;
  const byAttribute = attribute(node, 'starts') !== undefined;
  const vector = (name: string, input: number): number[] | undefined =>
    byAttribute ? intsAttribute(node, name) : constants(read.ints(input));
  const has = (name: string, input: number): boolean =>
    byAttribute ? attribute(node, name) !== undefined : Boolean(node.input[input]);
  const [starts, ends] = [vector('starts', 1), vector('ends', 2)];
  const entries = starts?.length ?? (byAttribute ? undefined : read.ints(1)?.items.length);
  const axes = has('axes', 3) ? vector('axes', 3) : entries === undefined ? undefined : range(0, entries);
  const steps = has('steps', 4) ? vector('steps', 4) : axes?.map(() => 1);
  return { starts, ends, axes: axes?.map((a) => positive(a, rank)), steps, byAttribute };
}

export const slice: Rule = {
  vectors: [1, 2, 3, 4],
  flow(flow) {
    const [x, xs] = [flow.dims(0), flow.axes(0)];
    if (!x) return flow.freezeAll('its shapes are not known');
    const { starts, ends, axes, steps } = sliceRanges(flow, x.length);
    if (!axes) return flow.freezeAll('Slice of computed axes');
    const sliced = xs.map((axis, d): Axis => {
      const at = axes.indexOf(d);
      if (at < 0 || axis === undefined) return axis;
      const step = steps?.[at];
      if (!starts || !ends || step !== 1) {
        flow.freeze(axis, step === 1 ? 'Slice by computed bounds' : 'Slice with a step runs over it');
        return undefined;
      }
      return pick(axis, sliceIndices(starts[at]!, ends[at]!, 1, x[d]!));
    });
    flow.set(0, sliced);
  },
  fix(cut) {
    const [x, y] = [cut.node.input[0]!, cut.node.output[0]!];
    const old = cut.oldDims(x);
    const { starts, ends, axes, byAttribute } = sliceRanges(
      { node: cut.node, ints: (i) => intsOf(cut, i) },
      old.length,
    );
    if (!starts || !ends || !axes || !axes.some((d) => cut.kept(x, d))) return;
    const first = axes.map((d, i) => {
      const kept = cut.kept(x, d);
      if (!kept) return undefined;
      const from = sliceIndices(starts[i]!, ends[i]!, 1, old[d]!)[0] ?? 0;
      return kept.filter((k) => k < from).length;
    });
    const last = axes.map((d, i) => (first[i] === undefined ? undefined : first[i] + cut.newDims(y)[d]!));
    if (byAttribute) {
      const [from, to] = [starts.map((v, i) => first[i] ?? v), ends.map((v, i) => last[i] ?? Math.min(v, 2 ** 31 - 1))];
      cut.draft.setAttribute(cut.node, 'starts', from);
      cut.draft.setAttribute(cut.node, 'ends', to);
    } else {
      cut.patch(1, first);
      cut.patch(2, last);
    }
  },
};
