import { words } from '../../util/words.ts';
import { floatAttribute, intAttribute } from '../attribute.ts';
import type { Model } from '../model.ts';
import type { NodeProto, TensorProto } from '../proto.ts';
import { productOf } from '../ops.ts';
import { isOp, storedTensors } from '../query.ts';
import { dimsOf, tensorData, tensorNumbers } from '../tensor.ts';
import { fixed } from './atoms.ts';
import type { Axis } from './flow.ts';
import { stridesOf } from './ints.ts';
import type { Channels } from './types.ts';

type Zeros = ReadonlySet<number>;

/** f(0) = 0. */
const keepZero = new Set(
  words(
    'Relu LeakyRelu Elu Selu Celu ThresholdedRelu HardSwish Tanh Softsign Mish Gelu Swish Erf Abs Neg Sqrt Sign Floor Ceil Round ' +
      'Sin Tan Asin Atan Sinh Asinh Atanh Identity Dropout Cast Shrink PRelu QuantizeLinear ' +
      'Transpose Reshape Flatten Squeeze Unsqueeze Split Slice Gather Expand Tile DepthToSpace SpaceToDepth Resize Upsample ' +
      'MaxPool AveragePool LpPool GlobalAveragePool GlobalMaxPool GlobalLpPool GridSample ' +
      'ReduceSum ReduceSumSquare ReduceL1 ReduceL2 ReduceMean ReduceMax ReduceMin',
  ),
);

/**
 * The atoms that can be cut without changing what the model computes: wherever channels are summed over, the atom's is
 * exactly zero, or the weights that read it are. Proved from the weights, for every input.
 */
export function removableChannels(model: Model, channels: Channels): Set<number> {
  const facts = zeroFacts(model, channels);
  const removable = new Set(channels.groups.flatMap((group) => group.atoms));
  for (const { operands } of channels.sites) {
    const met = new Set(operands.flatMap(({ value, axis }) => [...(channels.axes.get(value)?.[axis] ?? [])]));
    for (const atom of met)
      if (!operands.some(({ value, axis }) => facts.on(value, axis).has(atom))) removable.delete(atom);
  }
  return removable;
}

interface Facts {
  /** Atoms that are zero at every place of the value. */
  of(value: string): Zeros;
  /** Atoms whose slices along this axis of a stored tensor are zero; for other values as `of`. */
  on(value: string, axis: number): Zeros;
}

function zeroFacts(model: Model, channels: Channels): Facts {
  const stored = storedTensors(model);
  const known = new Map<string, Zeros>();
  const alongAxis = new Map<string, Zeros>();
  const on = (value: string, axis: number): Zeros => {
    const tensor = stored.get(value);
    if (!tensor) return of(value);
    const key = JSON.stringify([value, axis]);
    const zeros = alongAxis.get(key) ?? zeroSlices(tensor, channels.axes.get(value)?.[axis], axis);
    alongAxis.set(key, zeros);
    return zeros;
  };
  const of = (value: string): Zeros => {
    const found = known.get(value);
    if (found) return found;
    const axes = stored.has(value) ? (channels.axes.get(value) ?? []) : [];
    const zeros = new Set<number>();
    axes.forEach((_, d) => on(value, d).forEach((atom) => zeros.add(atom)));
    axes.forEach((labels, d) => labels?.forEach((atom) => on(value, d).has(atom) || zeros.delete(atom)));
    known.set(value, zeros);
    return zeros;
  };
  const facts: Facts = { of, on };
  for (const node of model.graph.node) {
    if (isOp(node, 'Constant') || !isOp(node, node.op_type)) continue;
    const zeros = zeroOutputs(node, facts, channels, stored);
    node.output.forEach((name) => known.set(name, zeros(name)));
  }
  return facts;
}

function zeroSlices(tensor: TensorProto, labels: Axis, axis: number): Set<number> {
  const zeros = new Set<number>([...(labels ?? [])].filter((atom) => atom !== fixed));
  if (zeros.size === 0) return zeros;
  const dims = dimsOf(tensor);
  const [stride, size] = [stridesOf(dims)[axis]!, dims[axis]!];
  // 0n == 0: int64 tensors hold bigints.
  tensorData(tensor).forEach((v: number | bigint, i: number) => {
    if (v != 0) zeros.delete(labels![Math.floor(i / stride) % size]!);
  });
  return zeros;
}

const none: Zeros = new Set();

/** The zero atoms of a node's outputs. */
function zeroOutputs(
  node: NodeProto,
  facts: Facts,
  channels: Channels,
  stored: ReadonlyMap<string, TensorProto>,
): (output: string) => Zeros {
  const input = (i: number): string => node.input[i] ?? '';
  const carried = (value: string): Set<number> =>
    new Set((channels.axes.get(value) ?? []).flatMap((labels) => [...(labels ?? [])].filter((atom) => atom !== fixed)));
  const where = (value: string, test: (atom: number) => boolean): Zeros => new Set([...carried(value)].filter(test));
  const x = facts.of(input(0));
  const number = (i: number): number | undefined => {
    const tensor = stored.get(input(i));
    return tensor && tensorNumbers(tensor)[0];
  };
  if (keepZero.has(node.op_type)) return (y) => where(y, (atom) => x.has(atom));
  switch (node.op_type) {
    case 'Conv':
    case 'ConvTranspose':
    case 'Gemm':
    case 'MatMul':
      return (y) => contracted(node, facts, channels, stored, carried(y));
    case 'BatchNormalization': {
      const [scale, bias, mean] = [1, 2, 3].map((i) => facts.of(input(i))) as [Zeros, Zeros, Zeros];
      return (y) => where(y, (a) => bias.has(a) && (scale.has(a) || (x.has(a) && mean.has(a))));
    }
    case 'Clip': {
      const low = node.input[1] ? number(1) : floatAttribute(node, 'min', -Infinity);
      const high = node.input[2] ? number(2) : floatAttribute(node, 'max', Infinity);
      return (y) =>
        low !== undefined && high !== undefined && low <= 0 && high >= 0 ? where(y, (a) => x.has(a)) : none;
    }
    case 'Pad': {
      const fill = node.input[2] ? number(2) : floatAttribute(node, 'value', 0);
      const own = carried(input(0));
      return (y) => (fill === 0 ? where(y, (a) => !own.has(a) || x.has(a)) : none);
    }
    case 'Concat':
      return (y) => where(y, (a) => node.input.every((name) => !carried(name).has(a) || facts.of(name).has(a)));
    case 'Add':
    case 'Sub':
    case 'Sum':
    case 'Mean':
    case 'Max':
    case 'Min':
      return (y) => where(y, (a) => node.input.every((name) => facts.of(name).has(a)));
    case 'Mul':
      return (y) => where(y, (a) => node.input.some((name) => facts.of(name).has(a)));
    case 'Div':
      return (y) => where(y, (a) => x.has(a) && !facts.of(input(1)).has(a));
    case 'Pow':
      return (y) => ((number(1) ?? 0) > 0 ? where(y, (a) => x.has(a)) : none);
    case 'DequantizeLinear': {
      const zeroPoint = stored.get(input(2));
      const symmetric = !zeroPoint || tensorNumbers(zeroPoint).every((v) => v === 0);
      return (y) => (symmetric || !stored.has(input(0)) ? where(y, (a) => x.has(a)) : none);
    }
    default:
      return () => none;
  }
}

/**
 * A made channel is zero where its weights are zero for every input channel that is not, and so is its bias; a carried one
 * (depthwise, rows of a product) where it was zero before.
 */
function contracted(
  node: NodeProto,
  facts: Facts,
  channels: Channels,
  stored: ReadonlyMap<string, TensorProto>,
  atoms: ReadonlySet<number>,
): Zeros {
  const [x = '', w = '', bias] = node.input;
  const weight = stored.get(w);
  const axes = channels.axes.get(w) ?? [];
  // Which axis of the weight makes channels and which is summed over; a vector has one.
  const places = productOf(node)?.axes(node, 1, axes.length);
  const [out, inner] = [places?.out.at(-1) ?? axes.length - 1, places?.in[0] ?? 0];
  const groups = isOp(node, 'Conv', 'ConvTranspose') ? intAttribute(node, 'group', 1) : 1;
  const depthwise = groups > 1 && groups === channels.dims.get(x)?.[1];
  const made = weight ? zeroRows(weight, axes, out, inner, facts.of(x)) : facts.of(w);
  const own = new Set(axes[out] ?? []);
  return new Set(
    [...atoms].filter((atom) => {
      const zero = depthwise
        ? facts.of(x).has(atom) || facts.on(w, 0).has(atom)
        : own.has(atom)
          ? made.has(atom)
          : facts.of(x).has(atom) || facts.of(w).has(atom);
      return zero && (!bias || !carriesBias(node) || facts.of(bias).has(atom));
    }),
  );
}

const carriesBias = (node: NodeProto): boolean => node.op_type !== 'MatMul';

function zeroRows(weight: TensorProto, axes: readonly Axis[], out: number, inner: number, zero: Zeros): Set<number> {
  const dims = dimsOf(weight);
  const strides = stridesOf(dims);
  const rows = axes[out];
  const zeros = new Set([...(rows ?? [])].filter((atom) => atom !== fixed));
  if (!rows) return zeros;
  const at = (i: number, d: number): number => Math.floor(i / strides[d]!) % dims[d]!;
  const skipped = Array.from({ length: dims[inner] ?? 1 }, (_, k) => zero.has(axes[inner]?.[k] ?? fixed));
  tensorData(weight).forEach((v: number | bigint, i: number) => {
    if (v != 0 && !skipped[at(i, inner)]) zeros.delete(rows[at(i, out)]!);
  });
  return zeros;
}
