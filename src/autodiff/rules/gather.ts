import { intAttribute } from '../../graph/attribute.ts';
import { elementCount } from '../../graph/tensor.ts';
import type { GradientRule } from '../rule.ts';
import { fromFront, inverse, reshape, transpose } from '../writer.ts';

const source =
  'rows that are read several times gather what comes back; https://onnx.ai/onnx/operators/onnx__ScatterND.html';

/** Embeddings and other look-ups: the gradients are added to zeros at the places that were read. */
export const gatherRules: readonly GradientRule[] = [
  {
    ops: ['Gather'],
    source,
    gradient(c) {
      const { w } = c;
      const [x, indices, dy] = [c.x(0), c.x(1), c.dy(0)!];
      const rank = x.dims.length;
      const axis = fromFront(intAttribute(c.node, 'axis', 0), rank);
      const many = indices.dims.length;
      // The axes that were looked up to the front, in x as in y.
      const front = [axis, ...[...Array(rank).keys()].filter((i) => i !== axis)];
      const order = [...Array(dy.dims.length).keys()];
      const read = order.slice(axis, axis + many);
      const rows = transpose(w, dy, [...read, ...order.filter((i) => !read.includes(i))]);
      const turned = front.map((i) => x.dims[i]!);
      const count = elementCount(indices.dims);
      const at = reshape(w, indices, [count, 1]);
      const added = w.op('ScatterND', [w.filled(turned), at, reshape(w, rows, [count, ...turned.slice(1)])], turned, { reduction: 'add' }); // prettier-ignore
      return [transpose(w, added, inverse(front))]; // prettier-ignore
    },
  },
  {
    ops: ['GatherElements'],
    source,
    gradient(c) {
      const { dims } = c.x(0);
      const axis = intAttribute(c.node, 'axis', 0);
      return [c.w.op('ScatterElements', [c.w.filled(dims), c.x(1), c.dy(0)], dims, { axis, reduction: 'add' })];
    },
  },
  {
    ops: ['GatherND'],
    source,
    refuse: (c) => (intAttribute(c.node, 'batch_dims', 0) > 0 ? 'has batch_dims' : undefined),
    gradient: (c) => [
      c.w.op('ScatterND', [c.w.filled(c.x(0).dims), c.x(1), c.dy(0)], c.x(0).dims, { reduction: 'add' }),
    ],
  },
];
