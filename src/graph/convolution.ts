import { intsAttribute, stringAttribute } from './attribute.ts';
import type { NodeProto } from './proto.ts';

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
