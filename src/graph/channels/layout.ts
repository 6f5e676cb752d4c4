import { must } from '../../util/must.ts';
import { intAttribute, intsAttribute, stringAttribute } from '../attribute.ts';
import { constants, positive } from './ints.ts';
import { bindSize, intsOf, pick, range, spread, type Axis, type Flow, type Rule } from './flow.ts';

export const transpose: Rule = {
  flow(flow) {
    const xs = flow.axes(0);
    const perm = intsAttribute(flow.node, 'perm') ?? xs.map((_, d) => xs.length - 1 - d);
    const axes = perm.map((d) => xs[d]);
    flow.set(0, axes);
  },
};

export const concat: Rule = {
  flow(flow) {
    const out = flow.outDims(0);
    const inputs = flow.node.input.map((_, i) => i);
    if (!out || inputs.some((i) => !flow.dims(i))) return flow.freezeAll('its shapes are not known');
    const at = positive(intAttribute(flow.node, 'axis', 1), out.length);
    const axes = out.map((size, d): Axis => {
      const parts = inputs.map((i) => flow.axes(i)[d]);
      if (d === at) {
        if (parts.every((part) => part === undefined)) return undefined;
        return Int32Array.from(
          inputs.flatMap((i) => [...(parts[i] ?? range(0, flow.dims(i)?.[d] ?? 0).map(() => -1))]),
        );
      }
      parts.slice(1).forEach((part) => flow.join(parts[0], part));
      return size === 1 || parts.includes(undefined) ? undefined : parts[0];
    });
    flow.set(0, axes);
  },
};

function splitSizes(flow: Flow, size: number): number[] | undefined {
  const given = intsAttribute(flow.node, 'split') ?? (flow.node.input[1] ? constants(flow.ints(1)) : undefined);
  if (given ?? flow.node.input[1]) return given;
  const each = Math.ceil(size / flow.node.output.length);
  return flow.node.output.map((_, i) => Math.max(0, Math.min(each, size - i * each)));
}

export const split: Rule = {
  vectors: [1],
  flow(flow) {
    const [x, xs] = [flow.dims(0), flow.axes(0)];
    if (!x) return flow.freezeAll('its shapes are not known');
    const at = positive(intAttribute(flow.node, 'axis', 0), x.length);
    const sizes = splitSizes(flow, x[at]!);
    if (!sizes) return flow.freezeAll('Split by computed sizes');
    let from = 0;
    sizes.forEach((size, output) => {
      const part = pick(xs[at], range(from, from + size));
      from += size;
      const parts = xs.map((axis, d) => (d === at ? part : axis));
      flow.set(output, parts);
    });
  },
  fix(cut) {
    const x = cut.node.input[0]!;
    const at = positive(intAttribute(cut.node, 'axis', 0), cut.oldDims(x).length);
    if (!cut.kept(x, at)) return;
    const sizes = cut.node.output.map((y) => cut.newDims(y)[at]!);
    if (cut.opset < 13) return void cut.draft.setAttribute(cut.node, 'split', sizes);
    cut.draft.setAttribute(cut.node, 'num_outputs', undefined);
    cut.vector(1, sizes);
  },
};

/** Constant indices pick channels; computed ones look rows up (embeddings), so those must stay. */
export const gather: Rule = {
  vectors: [1],
  flow(flow) {
    const [x, xs] = [flow.dims(0), flow.axes(0)];
    if (!x) return flow.freezeAll('its shapes are not known');
    const at = positive(intAttribute(flow.node, 'axis', 0), x.length);
    const size = x[at]!;
    const indices = constants(flow.ints(1))?.map((i) => positive(i, size));
    const rank = flow.dims(1)?.length ?? 0;
    const axis = xs[at];
    let picked: Axis[] = Array.from({ length: rank }, () => undefined);
    if (!indices || rank > 1) flow.freeze(axis, 'Gather looks its indices up');
    else if (rank === 0) flow.freeze(pick(axis, indices), 'Gather picks it alone');
    else picked = [pick(axis, indices)];
    xs.forEach((_, d) => flow.member(0, d, d === at ? 'through' : 'out'));
    flow.set(0, [...xs.slice(0, at), ...picked, ...xs.slice(at + 1)]);
  },
  fix(cut) {
    const [x, y] = [cut.node.input[0]!, cut.node.output[0]!];
    const at = positive(intAttribute(cut.node, 'axis', 0), cut.oldDims(x).length);
    const kept = cut.kept(x, at);
    const target = intsOf(cut, 1);
    const old = constants(target)?.map((i) => positive(i, cut.oldDims(x)[at]!));
    if (!kept || !old || !target) return;
    const place = new Map([...kept].map((from, to) => [from, to]));
    const left = target.dims.length === 0 ? [0] : [...(cut.kept(y, at) ?? range(0, old.length))];
    const places = left.map((i) => must(place, old[i]!, 'the place of axis'));
    cut.vector(1, places, target.dims.length === 0 ? [] : [left.length]);
  },
};

/** Channels are [block, block, C] (DCR) or [C, block, block] (CRD), spread over or gathered from space. */
export const depthToSpace: Rule = {
  flow(flow) {
    const [x, xs, out] = [flow.dims(0), flow.axes(0), flow.outDims(0)];
    if (!x || !out) return flow.freezeAll('its shapes are not known');
    const [inner, count] = [out[1]!, x[1]! / out[1]!];
    const crd = stringAttribute(flow.node, 'mode', 'DCR') === 'CRD';
    const axis = xs[1];
    if (axis) axis.forEach((_, i) => flow.tie(axis, crd ? Math.floor(i / count) * count : i % inner, i));
    flow.set(0, [xs[0], spread(axis, inner, (c) => (crd ? c * count : c)), undefined, undefined]);
  },
};

export const spaceToDepth: Rule = {
  flow(flow) {
    const [x, xs, out] = [flow.dims(0), flow.axes(0), flow.outDims(0)];
    if (!x || !out) return flow.freezeAll('its shapes are not known');
    const channels = x[1]!;
    flow.set(0, [xs[0], spread(xs[1], out[1]!, (i) => i % channels), undefined, undefined]);
  },
};

/** Resize by scales or sizes: axes whose size stays keep their channels. */
export const resize: Rule = {
  vectors: [1, 2, 3],
  flow(flow) {
    const [x, xs, out] = [flow.dims(0), flow.axes(0), flow.outDims(0)];
    if (!x || !out) return flow.freezeAll('its shapes are not known');
    const target = flow.ints(3);
    const axes = xs.map((axis, d): Axis => {
      if (x[d] === out[d]) return axis;
      flow.freeze(axis, `${flow.node.op_type} scales it`);
      return undefined;
    });
    const of = resizeAxes(flow.node, x.length);
    target?.items.forEach((item, i) => bindSize(flow, item, axes[of[i]!]));
    if (flow.node.input[3] && !target) axes.forEach((axis) => flow.freeze(axis, 'Resize to computed sizes'));
    flow.set(0, axes);
  },
  fix(cut) {
    const target = intsOf(cut, 3);
    const y = cut.node.output[0]!;
    if (!target) return;
    const of = resizeAxes(cut.node, cut.oldDims(y).length);
    const sizes = target.items.map((item, i) => {
      const d = of[i]!;
      return 'number' in item && cut.oldDims(y)[d] !== cut.newDims(y)[d] ? cut.newDims(y)[d] : undefined;
    });
    cut.patch(3, sizes);
  },
};

const resizeAxes = (node: Flow['node'], rank: number): number[] =>
  intsAttribute(node, 'axes')?.map((a) => positive(a, rank)) ?? range(0, rank);
