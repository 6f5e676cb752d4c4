import { each } from '../../util/words.ts';
import { attribute, floatAttribute, intAttribute, makeAttribute, stringAttribute } from '../attribute.ts';
import { makeNode } from '../build.ts';
import { toBigInt, type AttributeProto, type NodeProto } from '../proto.ts';
import { tensorNumbers, typeOf } from '../tensor.ts';
import { resize11, resize13, upsample10, upsample9 } from './resize.ts';
import type { Adapter, Rewrite, Site } from './site.ts';
import { softmax13 } from './softmax.ts';

/** The node's attributes without some. */
function without(node: NodeProto, ...names: readonly string[]): AttributeProto[] {
  return node.attribute.filter((a) => !names.includes(a.name));
}

/** The node with one attribute more. */
const adding = (node: NodeProto, name: string, value: number | string): Rewrite => ({
  fields: { attribute: [...node.attribute, makeAttribute(name, value)] },
});

/** The constant that an attribute of integers becomes, exactly: INT64_MAX says "to the end". Undefined where it is absent. */
function ints(node: NodeProto, site: Site, what: string): string | undefined {
  const values = attribute(node, what)?.ints;
  if (!values) return undefined;
  return site.constant(`${node.output[0]}_${what}`, 'int64', [values.length], BigInt64Array.from(values, toBigInt));
}

/** Inputs without empty ones at the end. */
function trimmed(names: readonly string[]): string[] {
  return names.slice(0, names.findLastIndex((name) => name !== '') + 1);
}

/** A list of integers became the second input; an absent or empty one stays absent. */
function toInput(name: string): Adapter {
  return (node, site) => {
    const found = attribute(node, name);
    if (!found) return undefined;
    const values = found.ints.length > 0 ? ints(node, site, name) : undefined;
    const input = [node.input[0] ?? '', ...(values === undefined ? [] : [values])];
    return { fields: { input, attribute: without(node, name) } };
  };
}

interface Scalar {
  readonly name: string;
  readonly before: readonly NodeProto[];
}

/** A scalar of the type of the node's first input; float16 by way of a Cast, so that onnxruntime does the rounding. */
function scalar(node: NodeProto, site: Site, what: string, value: number): Scalar {
  const type = site.floatType(node.input[0] ?? '');
  const base = `${node.output[0]}_${what}`;
  if (type === 'float32') return { name: site.constant(base, type, [], Float32Array.of(value)), before: [] };
  if (type === 'float64') return { name: site.constant(base, type, [], Float64Array.of(value)), before: [] };
  if (type !== 'float16') return site.refuse(`the element type of "${node.input[0]}" is not known`);
  const name = site.fresh(base);
  const wide = site.constant(`${base}_float`, 'float32', [], Float32Array.of(value));
  return { name, before: [makeNode('Cast', [wide], [name], { to: 10 })] };
}

/** The attributes' defaults are the largest float32 numbers: no bound. */
const unbounded = 3.4e38;

const clip11: Adapter = (node, site) => {
  const bounds = ['min', 'max'].map((what): Scalar => {
    const value = floatAttribute(node, what, Infinity);
    return Math.abs(value) >= unbounded ? { name: '', before: [] } : scalar(node, site, what, value);
  });
  const input = trimmed([node.input[0] ?? '', ...bounds.map((b) => b.name)]);
  return { fields: { input, attribute: without(node, 'min', 'max') }, before: bounds.flatMap((b) => b.before) };
};

const pad11: Adapter = (node, site) => {
  const value = floatAttribute(node, 'value', 0);
  const fill = value === 0 ? undefined : scalar(node, site, 'value', value);
  const input = trimmed([node.input[0] ?? '', ints(node, site, 'pads') ?? '', fill?.name ?? '']);
  return { fields: { input, attribute: without(node, 'pads', 'value') }, before: fill?.before ?? [] };
};

const slice10: Adapter = (node, site) => {
  const names = ['starts', 'ends', 'axes'];
  const input = trimmed([node.input[0] ?? '', ...names.map((name) => ints(node, site, name) ?? '')]);
  return { fields: { input, attribute: without(node, ...names) } };
};

const topK10: Adapter = (node, site) => {
  const k = site.constant(`${node.output[0]}_k`, 'int64', [1], BigInt64Array.of(BigInt(intAttribute(node, 'k', 1))));
  return { fields: { input: [node.input[0] ?? '', k], attribute: without(node, 'k') } };
};

/** From 18 on a Split without lengths must say into how many. */
const split18: Adapter = (node) => (node.input[1] ? undefined : adding(node, 'num_outputs', node.output.length));

const batchNorm9: Adapter = (node, site) => {
  if (!attribute(node, 'spatial')) return undefined;
  if (intAttribute(node, 'spatial', 1) === 0) site.refuse('statistics of every element (spatial = 0) are gone');
  return { fields: { attribute: without(node, 'spatial') } };
};

const batchNorm14: Adapter = (node, site) => {
  if (node.output.slice(1).some((name) => name !== '')) site.refuse('it is in training mode (it has several outputs)');
  return node.output.length > 1 ? { fields: { output: node.output.slice(0, 1) } } : undefined;
};

/** Type and content of the mask changed at 10 and at 12; the data pass unchanged at inference. */
const dropout10: Adapter = (node, site) => {
  if (node.output[1] && site.isRead(node.output[1])) site.refuse('its mask is read, whose content changed');
  return node.output.length > 1 ? { fields: { output: node.output.slice(0, 1) } } : undefined;
};

const dropout12: Adapter = (node, site) => {
  const fields = dropout10(node, site)?.fields;
  return fields || attribute(node, 'ratio') ? { fields: { ...fields, attribute: without(node, 'ratio') } } : undefined;
};

const roiAlign16: Adapter = (node) => adding(node, 'coordinate_transformation_mode', 'output_half_pixel');

const gridSample20: Adapter = (node) => {
  const mode = stringAttribute(node, 'mode', 'bilinear');
  const now = { bilinear: 'linear', bicubic: 'cubic' }[mode] ?? mode;
  return { fields: { attribute: [...without(node, 'mode'), makeAttribute('mode', now)] } };
};

const dft20: Adapter = (node, site) => {
  const axis = BigInt64Array.of(BigInt(intAttribute(node, 'axis', 1)));
  const input = [node.input[0] ?? '', node.input[1] ?? '', site.constant(`${node.output[0]}_axis`, 'int64', [], axis)];
  return { fields: { input, attribute: without(node, 'axis') } };
};

/** Scale and bias had one entry a group and now have one a channel. */
const groupNorm21: Adapter = (node, site) => {
  const groups = intAttribute(node, 'num_groups', 1);
  const channels = site.dims(node.input[0] ?? '')?.[1];
  const spread = [1, 2].map((i) => {
    const tensor = site.tensor(node.input[i] ?? '');
    if (!tensor || typeOf(tensor) !== 'float32' || typeof channels !== 'number')
      return site.refuse('scale and bias are given by group, and the number of channels is not known');
    const values = tensorNumbers(tensor);
    const each = Float32Array.from({ length: channels }, (_, c) => values[Math.floor((c * groups) / channels)] ?? 0);
    return site.constant(`${tensor.name}_channels`, 'float32', [channels], each);
  });
  return { fields: { input: [node.input[0] ?? '', ...spread] } };
};

/** Until 10 a negative index meant a row of off values. */
const oneHot11: Adapter = (node, site) => {
  const indices = site.tensor(node.input[0] ?? '');
  if (!indices || tensorNumbers(indices).some((i) => i < 0))
    site.note('negative indices of OneHot count from the end from opset 11 on');
  return undefined;
};

const scatter11: Adapter = () => ({ fields: { op_type: 'ScatterElements' } });

const scan9: Adapter = (_, site) => site.refuse('its batch axis and sequence lengths are gone');

/** Operator forms that the CPU provider of onnxruntime 1.30 does not register (sessions were tried for all operators). */
const noKernel: Adapter = (_, site) =>
  site.refuse('onnxruntime 1.30 has no kernel for the newer form', 'stay at opset 21 or below');

/**
 * The changes that need rewriting: operator → version → adapter. Every other change of an operator is compatible
 * upwards, checked change by change against the schemas of onnx 1.23.
 */
export const breaking: Readonly<Record<string, Readonly<Record<number, Adapter>>>> = {
  BatchNormalization: { 9: batchNorm9, 14: batchNorm14 },
  Clip: { 11: clip11 },
  DFT: { 20: dft20 },
  Dropout: { 10: dropout10, 12: dropout12 },
  GridSample: { 20: gridSample20 },
  GroupNormalization: { 21: groupNorm21 },
  OneHot: { 11: oneHot11 },
  Pad: { 11: pad11 },
  ...each({ 13: toInput('axes') }, 'ReduceSum Squeeze Unsqueeze'),
  ...each(
    { 18: toInput('axes') },
    'ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSumSquare',
  ),
  Resize: { 11: resize11, 13: resize13 },
  RoiAlign: { 16: roiAlign16, 22: noKernel },
  Scan: { 9: scan9 },
  Scatter: { 11: scatter11 },
  Slice: { 10: slice10 },
  ...each({ 13: softmax13 }, 'Hardmax LogSoftmax Softmax'),
  Split: { 13: toInput('split'), 18: split18 },
  TopK: { 10: topK10 },
  Upsample: { 9: upsample9, 10: upsample10 },
  ...each(
    { 22: noKernel },
    'Bernoulli GlobalLpPool MaxRoiPool Multinomial RandomNormal RandomNormalLike RandomUniform RandomUniformLike',
  ),
};
