import { intAttribute, intsAttribute } from '../../graph/attribute.ts';
import { dtypes, type DType } from '../../graph/dtype.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto, TensorProto } from '../../graph/proto.ts';
import { consumers, isOp } from '../../graph/query.ts';
import { tensorNumbers } from '../../graph/tensor.ts';
import { constantTensors } from './tensors.ts';
import type { StaticShapes } from './static_shapes.ts';

interface Case {
  readonly node: NodeProto;
  readonly model: Model;
  readonly shapes: StaticShapes;
  /** Input i if it is a constant; null where the node has no such input. */
  readonly constant: (i: number) => TensorProto | null | undefined;
}

/** Says why a node has no effect, or undefined. */
type Rule = (found: Case) => string | undefined;

/** Ends this far say "to the end": exporters write INT32_MAX or INT64_MAX. */
const endless = 2 ** 31 - 1;

const single: Rule = ({ node }) => (node.input.length === 1 ? 'it has one input' : undefined);

const rules: Readonly<Record<string, Rule>> = {
  Identity: () => 'it passes its input on',
  Dropout: ({ node, model, constant }) => {
    const mask = node.output[1] ?? '';
    const read = consumers(model.graph).has(mask) || model.graph.output.some((o) => o.name === mask);
    const training = constant(2);
    const off = training === null || (training !== undefined && tensorNumbers(training)[0] === 0);
    return off && (mask === '' || !read) ? 'nothing is dropped at inference' : undefined;
  },
  Cast: ({ node, shapes }) => {
    const type = shapes.type(node.input[0] ?? '');
    const same = type !== undefined && dtypes[type as DType].code === intAttribute(node, 'to', 0);
    return same ? `its input is ${type} already` : undefined;
  },
  Reshape: ({ node, shapes, constant }) => {
    const [x = ''] = node.input;
    const shape = constant(1);
    const dims = shapes.partial(x);
    if (!shape || !dims) return undefined;
    const wanted = tensorNumbers(shape);
    const copies = intAttribute(node, 'allowzero', 0) === 0;
    const free = wanted.filter((n) => n === -1).length;
    const same = wanted.every((n, i) => (n === 0 && copies) || n === -1 || n === dims[i]);
    return wanted.length === dims.length && same && free <= 1 ? 'the shape is the same' : undefined;
  },
  Flatten: ({ node, shapes }) => {
    const rank = shapes.rank(node.input[0] ?? '');
    return rank === 2 && Math.abs(intAttribute(node, 'axis', 1)) === 1 ? 'its input has two axes already' : undefined;
  },
  Transpose: ({ node }) => {
    const perm = intsAttribute(node, 'perm');
    return perm?.every((axis, i) => axis === i) ? 'the axes stay in order' : undefined;
  },
  Pad: ({ constant }) => {
    const pads = constant(1);
    return pads && tensorNumbers(pads).every((n) => n === 0) ? 'it pads by nothing' : undefined;
  },
  Slice: ({ node, shapes, constant }) => {
    const [starts, ends, axes, steps] = [1, 2, 3, 4].map(constant);
    const dims = shapes.partial(node.input[0] ?? '');
    if (!starts || !ends || axes === undefined || steps === undefined || !dims) return undefined;
    if (steps && tensorNumbers(steps).some((n) => n !== 1)) return undefined;
    const last = tensorNumbers(ends);
    const along = axes ? tensorNumbers(axes) : last.map((_, i) => i);
    const whole = last.every((end, i) => {
      const axis = along[i]!;
      const dim = dims[axis < 0 ? axis + dims.length : axis];
      return end >= endless || (dim !== undefined && end >= dim);
    });
    return whole && tensorNumbers(starts).every((n) => n === 0) ? 'it takes everything' : undefined;
  },
  Tile: ({ constant }) => {
    const repeats = constant(1);
    return repeats && tensorNumbers(repeats).every((n) => n === 1) ? 'it repeats once' : undefined;
  },
  Expand: ({ node, shapes, constant }) => {
    const shape = constant(1);
    const dims = shapes.partial(node.input[0] ?? '');
    if (!shape || !dims) return undefined;
    const wanted = tensorNumbers(shape);
    const at = dims.length - wanted.length;
    const same = at >= 0 && wanted.every((n, i) => n === 1 || n === dims[at + i]);
    return same ? 'the shape is the same' : undefined;
  },
  Concat: single,
  Sum: single,
  Mean: single,
  Max: single,
  Min: single,
};

/** Whether the node is of an operator that can be without effect. */
export function mayDoNothing(node: NodeProto): boolean {
  return isOp(node, ...Object.keys(rules));
}

/** Why the node passes its first input on unchanged, whatever the model is fed; undefined where that is not certain. */
export function doesNothing(node: NodeProto, model: Model, shapes: StaticShapes): string | undefined {
  const tensors = constantTensors(model);
  const constant = (i: number): TensorProto | null | undefined => (node.input[i] ? tensors.get(node.input[i]) : null);
  return rules[node.op_type]?.({ node, model, shapes, constant });
}
