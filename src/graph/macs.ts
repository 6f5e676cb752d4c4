import { productOf } from './ops.ts';
import type { Factors } from './product.ts';
import type { NodeProto } from './proto.ts';
import type { OpenShapes } from './shapes.ts';

/** The value that a factor of a layer's multiply-accumulates speaks of. */
export function factorValue(node: NodeProto, of: Factors[number]['of']): string {
  if (of === 'out') return node.output[0] ?? '';
  const product = productOf(node);
  const input = of === 'data' ? product?.data : of === 'weight' ? product?.weights[0] : of;
  return node.input[input ?? -1] ?? '';
}

/** The axes of a value of so many axes that a factor multiplies. */
export function factorAxes({ from = 0, to, at }: Factors[number], rank: number): number[] {
  if (at !== undefined) return [at < 0 ? rank + at : at].filter((d) => d >= 0 && d < rank);
  return Array.from({ length: rank }, (_, d) => d).slice(from, to);
}

/** Multiply-accumulates of one run of a layer at these shapes, or in words why they are not known. */
export function macsOf(node: NodeProto, shapes: OpenShapes): number | string {
  const sums = productOf(node)?.macs(node) ?? `its MACs are unknown: ${node.op_type} is not counted`;
  if (typeof sums === 'string') return sums;
  let total = 0;
  for (const factors of sums) {
    let product = 1;
    for (const factor of factors) {
      const dims = shapes.get(factorValue(node, factor.of))?.dims;
      if (!dims) return 'its MACs are unknown: shapes were not seen';
      for (const d of factorAxes(factor, dims.length)) {
        const length = dims[d]!;
        if (typeof length === 'string') return `its MACs are unknown: an axis${length && ` (${length})`} is open`;
        product *= length;
      }
    }
    total += product;
  }
  return total;
}
