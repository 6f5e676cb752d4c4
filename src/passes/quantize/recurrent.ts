import * as z from 'zod';
import { intAttribute } from '../../graph/attribute.ts';
import type { Draft } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import type { NodeProto } from '../../graph/proto.ts';
import type { Model } from '../../graph/model.ts';
import { everyNode, isOp } from '../../graph/query.ts';
import { makeTensor } from '../../graph/tensor.ts';
import { affineFormat } from '../../numerics/affine.ts';
import type { QuantParams } from '../../numerics/format.ts';
import { quantize } from '../../numerics/quantize.ts';
import { given } from '../../util/must.ts';
import type { Note } from '../pass.ts';
import type { LayerFormats } from './formats.ts';
import { affineParams, describeParams } from './params.ts';
import { replaceInput } from './qdq.ts';
import { storageOpset, storeFolded } from './folded.ts';
import { weightKey } from './targets.ts';
import { smallestType } from './weights.ts';

/** What becomes of the weights of LSTM, GRU and RNN, for which QDQ has no integer kernel. */
export const recurrentForms = {
  folded: 'decoded once at load, standard operators: a small file, float speed',
  packed:
    "LSTM as onnxruntime's DynamicQuantizeLSTM, int8 arithmetic: 1.3 to 3 times float's speed on x86, slower than float in WebAssembly; else as folded",
  float: 'left as they are',
} as const;

export type RecurrentForm = keyof typeof recurrentForms;

/** The option of quantizers whose activations are 8 bits. */
export const recurrentOption = z
  .enum(Object.keys(recurrentForms) as [RecurrentForm, ...RecurrentForm[]])
  .default('folded')
  .meta({
    description: `weights of LSTM, GRU and RNN; ${Object.entries(recurrentForms)
      .map(([name, text]) => `${name}: ${text}`)
      .join('; ')}`,
  });

/** Whether a layer is one of a recurrent operator of the standard set. */
export const isRecurrent = ({ node }: Pick<Layer, 'node'>): boolean => isOp(node, 'LSTM', 'GRU', 'RNN');

/** The operator set whose types hold the weights of a model's recurrent layers in that many bits; 13 where there is none. */
export const recurrentOpset = (model: Model, bits: number | null, form: RecurrentForm): number =>
  bits !== null && form !== 'float' && [...everyNode(model.graph)].some((node) => isRecurrent({ node }))
    ? storageOpset(smallestType(bits, true))
    : 13;

/** Why a recurrent node cannot become DynamicQuantizeLSTM; undefined where it can. */
function unfitForPacked(node: NodeProto, own: readonly Layer[], bits: number): string | undefined {
  if (!isOp(node, 'LSTM')) return `onnxruntime has no quantized ${node.op_type}`;
  if (intAttribute(node, 'layout', 0) !== 0) return 'DynamicQuantizeLSTM knows no batch-first layout';
  if (own.length < 2)
    return 'DynamicQuantizeLSTM takes both its weights as codes, and one of them is not to be quantized';
  return bits > 8 ? 'DynamicQuantizeLSTM takes 8 bits' : undefined;
}

/**
 * Stores the weights of recurrent layers as symmetric codes, one scale a row of a gate. An LSTM becomes com.microsoft's
 * DynamicQuantizeLSTM where that is asked for: W [directions, inputs, 4·hidden], R [directions, hidden, 4·hidden], scales [directions, 4·hidden]
 * or [directions], zero points int8 and zero (https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md). All others decode
 * their weights at load and compute in float: DequantizeLinear would be computed at every run.
 */
export function storeRecurrent(
  draft: Draft,
  layers: readonly Layer[],
  form: RecurrentForm,
  formatOf: (node: NodeProto) => LayerFormats,
): Note[] {
  const stored = new Map<string, readonly string[]>();
  return [...new Set(layers.map(({ node }) => node))].flatMap((node): Note[] => {
    const own = layers.filter((layer) => layer.node === node);
    const { weights, perChannel } = formatOf(node);
    const { bits } = affineFormat(given(weights, 'the format of weights'));
    const unfit = form === 'packed' ? unfitForPacked(node, own, bits) : 'folded';
    const once = (layer: Layer, how: string, make: () => readonly string[]): readonly string[] => {
      const key = weightKey(layer, [how, weights, perChannel]);
      const names = stored.get(key) ?? make();
      stored.set(key, names);
      return names;
    };
    const codesOf = (layer: Layer, each: boolean) => codesByRow(layer, given(weights, 'the format of weights'), each);
    if (unfit === undefined) {
      const inputs = own.map((layer) =>
        once(layer, 'packed', () => storeTurned(draft, layer, codesOf(layer, perChannel), perChannel)),
      );
      packed(draft, node, inputs);
      const { params } = codesOf(own[0]!, perChannel);
      return [
        {
          layer: own[0]!.name,
          text: `weights ${describeParams(params)}, activations uint8 at run time; DynamicQuantizeLSTM`,
        },
      ];
    }
    const why = form === 'packed' ? ` (${unfit})` : '';
    return own.map((layer) => {
      const { codes, params } = codesOf(layer, true);
      const small = smallestType(bits, true);
      const type = draft.opset('') >= storageOpset(small) ? small : 'int8';
      const name = layer.weight.tensor.name;
      const [decoded = ''] = once(layer, 'folded', () => [
        storeFolded(draft, { name, weight: layer.weight, type, codes, params }),
      ]);
      replaceInput(draft, layer.node, layer.input, decoded);
      const held = `weights ${name} ${describeParams(params)}, activations float`;
      return { layer: layer.name, text: `${held}; float weights at load time${why}` };
    });
  });
}

/** Codes [rows, columns] of a weight, one scale a row, or one for all written to each. */
function codesByRow({ weight }: Layer, format: Parameters<typeof affineFormat>[0], perChannel: boolean) {
  const { rows, columns } = weight.view();
  const own = affineFormat(format);
  const symmetric = { ...own, signed: true, symmetric: true, narrow: true };
  const data = weight.rows();
  const found = affineParams(
    data,
    [rows, columns],
    symmetric,
    perChannel ? 0 : undefined,
    'minmax',
    weight.tensor.name,
  );
  const params: QuantParams = {
    format: symmetric,
    granularity: { per: 'channel', axis: 0 },
    scale: Float32Array.from({ length: rows }, (_, row) => found.scale[perChannel ? row : 0]!),
    zeroPoint: new Int32Array(rows),
  };
  return { codes: quantize(data, [rows, columns], params), params };
}

/** Codes as DynamicQuantizeLSTM reads them. */
function storeTurned(
  draft: Draft,
  { weight }: Layer,
  { codes, params }: ReturnType<typeof codesByRow>,
  perChannel: boolean,
): readonly string[] {
  const [directions = 1, gates = 1, columns = 1] = weight.dims;
  const turned = new Int8Array(codes.length);
  for (let d = 0; d < directions; d++)
    for (let g = 0; g < gates; g++)
      for (let k = 0; k < columns; k++) turned[(d * columns + k) * gates + g] = codes[(d * gates + g) * columns + k]!;
  const scaleDims = perChannel ? [directions, gates] : [directions];
  const count = scaleDims.reduce((a, b) => a * b, 1);
  const { name } = weight.tensor;
  return [
    draft.add(`${name}_quantized`, makeTensor('codes', 'int8', [directions, columns, gates], turned)),
    draft.add(`${name}_scale`, makeTensor('scale', 'float32', scaleDims, params.scale.slice(0, count))),
    draft.add(`${name}_zero_point`, makeTensor('zero', 'int8', scaleDims, new Int8Array(count))),
  ];
}

/** Puts DynamicQuantizeLSTM in the place of an LSTM; X, B, lengths, states, peepholes and attributes are the same. */
function packed(draft: Draft, node: NodeProto, [w, r]: readonly (readonly string[])[]): void {
  const [codesW = '', ...paramsW] = w ?? [];
  const [codesR = '', ...paramsR] = r ?? [];
  const now = draft.current(node);
  const rest = Array.from({ length: 5 }, (_, i) => now.input[3 + i] ?? '');
  draft.requireOpset('com.microsoft', 1);
  const input = [now.input[0] ?? '', codesW, codesR, ...rest, ...paramsW, ...paramsR];
  const attribute = now.attribute.filter(({ name }) => name !== 'layout');
  draft.update(node, { op_type: 'DynamicQuantizeLSTM', domain: 'com.microsoft', input, attribute });
}
