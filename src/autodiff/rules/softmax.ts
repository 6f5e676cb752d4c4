import { intAttribute } from '../../graph/attribute.ts';
import type { GradientRule } from '../rule.ts';
import { fromFront, mul, sub, sum, unary } from '../writer.ts';

/** dx = y (dy − Σ dy y) and, of its logarithm, dx = dy − eʸ Σ dy, summed along the axis (operator set 13 and later). */
export const softmaxRules: readonly GradientRule[] = [
  {
    ops: ['Softmax'],
    source: 'https://onnx.ai/onnx/operators/onnx__Softmax.html, differentiated',
    gradient(c) {
      const { w } = c;
      const y = c.y(0);
      const axis = fromFront(intAttribute(c.node, 'axis', -1), y.dims.length);
      const weighted = mul(w, c.dy(0)!, y);
      return [sub(w, weighted, mul(w, y, sum(w, weighted, [axis], true)))];
    },
  },
  {
    ops: ['LogSoftmax'],
    source: 'https://onnx.ai/onnx/operators/onnx__LogSoftmax.html, differentiated',
    gradient(c) {
      const { w } = c;
      const [y, dy] = [c.y(0), c.dy(0)!];
      const axis = fromFront(intAttribute(c.node, 'axis', -1), y.dims.length);
      return [sub(w, dy, mul(w, unary(w, 'Exp', y), sum(w, dy, [axis], true)))];
    },
  },
];
