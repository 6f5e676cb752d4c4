import { makeNode } from '../graph/build.ts';
import { convGeometry } from '../graph/convolution.ts';
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
