import { intsAttribute, stringAttribute } from '../graph/attribute.ts';
import { makeNode } from '../graph/build.ts';
import type { NodeProto } from '../graph/proto.ts';

/** Takes one of `every` positions along each axis only; `shift`, a graph input int64 [rank], says from where (in the input's places). */
export interface Thinning {
  readonly every: readonly number[];
  readonly shift: string;
}

/** im2col by slices: [N, C, …] → [groups, C/groups · taps, N · positions]. */
export function convColumns(
  node: NodeProto,
  dims: readonly number[],
  shape: readonly number[],
  name: string,
  [groups, size]: readonly [number, number],
  constant: (name: string, values: readonly number[]) => string,
  thin?: Thinning,
): NodeProto[] {
  const kernel = dims.slice(2);
  const rank = kernel.length;
  const { begin, end, out, strides, dilations } = convGeometry(node, kernel, shape.slice(2));
  const nodes: NodeProto[] = [
    makeNode('Pad', [name, constant(`${name}_pads`, [0, 0, ...begin, 0, 0, ...end])], [`${name}_padded`]),
  ];
  const [spatial, jumps] = [kernel.map((_, i) => i + 2), strides.map((s, d) => s * (thin?.every[d] ?? 1))];
  const [axes, steps] = [constant(`${name}_axes`, spatial), constant(`${name}_steps`, jumps)];
  const taps = kernel.reduce<number[][]>(
    (all, k) => all.flatMap((tap) => [...Array(k).keys()].map((i) => [...tap, i])),
    [[]],
  );
  const parts = taps.map((tap, t) => {
    const from = tap.map((i, d) => i * dilations[d]!);
    const to = from.map((f, d) => f + (out[d]! - 1) * strides[d]! + 1);
    const part = `${name}_tap${t}`;
    const start = constant(`${part}_from`, from);
    if (thin) nodes.push(makeNode('Add', [start, thin.shift], [`${part}_shifted`]));
    const bounds = [thin ? `${part}_shifted` : start, constant(`${part}_to`, to), axes, steps];
    nodes.push(makeNode('Slice', [`${name}_padded`, ...bounds], [`${part}_cut`]));
    nodes.push(makeNode('Unsqueeze', [`${part}_cut`, constant(`${part}_axis`, [2])], [part]));
    return part;
  });
  nodes.push(makeNode('Concat', parts, [`${name}_taps`], { axis: 2 }));
  const positions = [...Array(rank).keys()].map((i) => i + 3);
  nodes.push(makeNode('Transpose', [`${name}_taps`], [`${name}_order`], { perm: [1, 2, 0, ...positions] }));
  const flat = constant(`${name}_shape`, [groups, size, -1]);
  nodes.push(makeNode('Reshape', [`${name}_order`, flat], [`${name}_columns`]));
  return nodes;
}

/** Padding and output size of a Conv (https://onnx.ai/onnx/operators/onnx__Conv.html) on an input of these spatial dims. */
export function convGeometry(
  node: NodeProto,
  kernel: readonly number[],
  input: readonly number[],
): { begin: number[]; end: number[]; out: number[]; strides: readonly number[]; dilations: readonly number[] } {
  const strides = intsAttribute(node, 'strides') ?? kernel.map(() => 1);
  const dilations = intsAttribute(node, 'dilations') ?? kernel.map(() => 1);
  const auto = stringAttribute(node, 'auto_pad', 'NOTSET');
  const pads = intsAttribute(node, 'pads') ?? [...kernel, ...kernel].map(() => 0);
  const rank = kernel.length;
  const begin: number[] = [];
  const end: number[] = [];
  const out = input.map((size, d) => {
    const reach = (kernel[d]! - 1) * dilations[d]! + 1;
    const stride = strides[d]!;
    const same = auto.startsWith('SAME');
    const total = same ? Math.max(0, (Math.ceil(size / stride) - 1) * stride + reach - size) : 0;
    const less = Math.floor(total / 2);
    begin.push(same ? (auto === 'SAME_LOWER' ? total - less : less) : auto === 'VALID' ? 0 : pads[d]!);
    end.push(same ? total - begin[d]! : auto === 'VALID' ? 0 : pads[d + rank]!);
    return Math.floor((size + begin[d]! + end[d]! - reach) / stride) + 1;
  });
  return { begin, end, out, strides, dilations };
}
