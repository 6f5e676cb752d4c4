import * as z from 'zod';
import { makeNode } from '../../graph/build.ts';
import { dtypes } from '../../graph/dtype.ts';
import { edit, type Draft } from '../../graph/edit.ts';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { floatData, makeTensor } from '../../graph/tensor.ts';
import { affineFormat, type AffineFormat } from '../../numerics/affine.ts';
import type { NumberFormat, QuantParams } from '../../numerics/format.ts';
import { quantize } from '../../numerics/quantize.ts';
import { fromRows, rowView } from '../../numerics/rows.ts';
import { given, must } from '../../util/must.ts';
import { prepare } from '../fold/prepare.ts';
import { noteLine, type Note, type Pass, type PassContext, type PassResult } from '../pass.ts';
import { allCodes, type FoundCodes } from './all_codes.ts';
import { embeddings, quantizeEmbeddings, type Embedding } from './embedding.ts';
import { layerFormats, narrowOverrides, overrideSelectors, resolveOverrides, type LayerFormats } from './formats.ts';
import { describeParams, formatParams } from './params.ts';
import { addParams } from './qdq.ts';
import { isRecurrent, recurrentOption, recurrentOpset, storeRecurrent } from './recurrent.ts';
import { weightKey, weightLayers } from './targets.ts';
import { retied, untied } from './tied.ts';
import type { WeightCodes } from './weight_methods.ts';

const options = z.strictObject({
  bits_weights: z
    .number()
    .int()
    .min(2)
    .max(8)
    .default(8)
    .meta({ description: 'bits of the weights, held in int8; 7 where a processor without VNNI would saturate' }),
  per_channel: z.boolean().default(true).meta({ description: 'one weight scale an output channel' }),
  recurrent: recurrentOption,
  method: z.enum(['rtn', 'gptq']).default('rtn').meta({
    description:
      'rtn: rounded to nearest; gptq: each rounding error made up for by the weights that follow, on calibration data',
  }),
  samples: z.number().int().positive().default(256).meta({ description: 'calibration samples of gptq' }),
  overrides: narrowOverrides.default({}),
});

export type DynamicOptions = z.infer<typeof options>;

/**
 * Dynamic quantization: weights int8, activations to uint8 at every run with the range they have there; no calibration data.
 * MatMul and Gemm become DynamicQuantizeLinear → MatMulInteger → Mul, which onnxruntime fuses to one kernel.
 */
export const dynamicQuantizer: Pass<DynamicOptions> = {
  name: 'quantize/dynamic',
  section: 'quantizers',
  classes: ['DynamicQuantizer'],
  summary: 'int8 weights, activations quantized at run time: MatMul and Gemm, no calibration',
  source:
    'ONNX DynamicQuantizeLinear, MatMulInteger; onnxruntime MatMulIntegerToFloat and DynamicQuantizeMatMul fusions',
  options,
  selectors: overrideSelectors,
  inBodies: {},
  apply,
};

async function apply(model: Model, o: DynamicOptions, ctx: PassContext): Promise<PassResult> {
  const prepared = await prepare(model, ctx, recurrentOpset(model, o.bits_weights, o.recurrent));
  const { model: twin, copies } = untied(prepared.model);
  const { layers, skipped, kept } = weightLayers(twin);
  const override = resolveOverrides(o.overrides, twin);
  const defaults = { ...o, bits_activations: 8, weights_symmetric: true };
  const formatOf = (node: NodeProto): LayerFormats => layerFormats(node, defaults, ctx.plan, override);
  const heldOf = ({ node }: Layer): Held => {
    const { weights, perChannel } = formatOf(node);
    return { weights: given(weights, 'the format of weights'), perChannel };
  };
  const byHand = (node: NodeProto): string | undefined =>
    formatOf(node).weights === undefined ? 'left in float by the schedule' : undefined;
  const recurrent = layers.filter(
    (layer) => o.recurrent !== 'float' && isRecurrent(layer) && byHand(layer.node) === undefined,
  );
  const plain = layers.filter((layer) => !recurrent.includes(layer));
  const reasons = new Map(
    plain.flatMap((layer) => {
      const reason = layer.product.as === 'Gather' ? undefined : (byHand(layer.node) ?? unfit(layer));
      return reason === undefined ? [] : [[layer, reason] as const];
    }),
  );
  const coded = plain.filter((layer) => layer.product.as !== 'Gather' && !reasons.has(layer));
  const tables = embeddings(twin, coded, (node) => byHand(node) ?? kept.get(node));
  const changed: Note[] = [];
  // A table of another type is told by both.
  const told = new Set(skipped.map(({ layer }) => layer));
  const left: Note[] = [
    ...skipped,
    ...tables.skipped.filter(({ layer }) => !told.has(layer)),
    ...[...reasons].map(([{ name }, text]) => ({ layer: name, text })),
  ];
  const byGptq = await gptqCodes(twin, coded, tables.sites, heldOf, o, ctx);
  const quantized = edit(twin, (draft) => {
    const stores: Stores = { weights: new Map(), inputs: new Map() };
    for (const layer of coded) {
      const found = byGptq.get(weightKey(layer, heldOf(layer)));
      const params = replace(draft, layer, heldOf(layer), found?.codes, stores);
      const by = found ? ` (${found.method}${found.why ? `: ${found.why}` : ''})` : '';
      changed.push({
        layer: layer.name,
        text: `weights ${describeParams(params)}${by}, activations uint8 at run time`,
      });
    }
    const tied = quantizeEmbeddings(draft, tables.sites, (layer) => {
      const { names, params } = must(stores.weights, weightKey(layer, heldOf(layer)), 'the codes of');
      return { codes: names[0], scale: names[1], perChannel: params.granularity.per === 'channel', turned: true };
    });
    changed.push(...tied, ...storeRecurrent(draft, recurrent, o.recurrent, formatOf));
  });
  return {
    model: retied(quantized, copies),
    twin,
    changed,
    skipped: left,
    notes: prepared.notes.map(noteLine),
  };
}

/** GPTQ's codes by key: of weights with a scale a channel. A table that is looked up too keeps its rows as they are. */
async function gptqCodes(
  model: Model,
  coded: readonly Layer[],
  tables: readonly Embedding[],
  heldOf: (layer: Layer) => Held,
  { method, samples }: DynamicOptions,
  ctx: PassContext,
): Promise<ReadonlyMap<string, FoundCodes>> {
  if (method === 'rtn') return new Map();
  const keyOf = (layer: Layer): string => weightKey(layer, heldOf(layer));
  const byRows = new Set(tables.flatMap(({ tied }) => (tied ? [keyOf(tied)] : [])));
  const formatFor = (layer: Layer): AffineFormat => affineFormat(heldOf(layer).weights);
  const settings = {
    method,
    samples,
    block: null,
    damping: 0.01,
    order: 'activation',
    zero_points: 'integer',
    lp_norm: 0.7,
  } as const;
  return allCodes(
    model,
    coded.filter((layer) => heldOf(layer).perChannel),
    byRows,
    { keyOf, formatFor },
    settings,
    ctx,
  );
}

function unfit({ node, input, product, weight }: Layer): string | undefined {
  if (product.dynamic !== undefined) return product.dynamic;
  if (input !== 1) return 'its constant stands on the left of the product';
  if (weight.dims.length !== 2)
    return `its weights have ${weight.dims.length} axes; MatMulInteger is fused for matrices only`;
  return product.quirk(node);
}

/** How a layer's weights are held. */
interface Held {
  readonly weights: NumberFormat;
  readonly perChannel: boolean;
}

interface StoredMatrix {
  readonly names: readonly [codes: string, scale: string, zeroPoint: string];
  readonly params: QuantParams;
}

/** What several products share: weights by `weightKey`, quantized inputs by value. */
interface Stores {
  readonly weights: Map<string, StoredMatrix>;
  readonly inputs: Map<string, readonly [codes: string, scale: string, zeroPoint: string]>;
}

function replace(
  draft: Draft,
  layer: Layer,
  held: Held,
  codes: WeightCodes | undefined,
  { weights, inputs }: Stores,
): QuantParams {
  const { node } = layer;
  const key = weightKey(layer, held);
  const stored = weights.get(key) ?? storeTransposed(draft, layer, held, codes);
  weights.set(key, stored);
  const w = stored.names;
  const current = draft.current(node);
  const [x = '', , bias = ''] = current.input;
  const [y = ''] = current.output;
  const xq = inputs.get(x) ?? quantizeInput(draft, x);
  inputs.set(x, xq);
  const base = draft.freshName(`${y}_product`);
  const [product, float, scale] = [`${base}_int`, `${base}_float`, `${base}_scale`].map((hint) =>
    draft.freshName(hint),
  ) as [string, string, string];
  const result = bias ? draft.freshName(`${base}_dequantized`) : y;
  draft.removeNode(node);
  draft.addNode(makeNode('MatMulInteger', [xq[0], w[0], xq[2], w[2]], [product], {}, { name: layer.name }));
  draft.addNode(makeNode('Cast', [product], [float], { to: dtypes.float32.code }));
  draft.addNode(makeNode('Mul', [xq[1], w[1]], [scale]));
  draft.addNode(makeNode('Mul', [float, scale], [result]));
  if (bias) draft.addNode(makeNode('Add', [result, bias], [y]));
  return stored.params;
}

function quantizeInput(draft: Draft, x: string): readonly [string, string, string] {
  const names = [`${x}_quantized`, `${x}_scale`, `${x}_zero_point`].map((hint) => draft.freshName(hint)) as [
    string,
    string,
    string,
  ];
  draft.addNode(makeNode('DynamicQuantizeLinear', [x], names));
  return names;
}

/** Stores a matrix as int8 [K, N]: these codes [N, K], or rounded to nearest. */
function storeTransposed(
  draft: Draft,
  { weight }: Layer,
  { weights, perChannel }: Held,
  found: WeightCodes | undefined,
): StoredMatrix {
  const { rows, columns } = weight.view();
  const stands = weight.axes?.out[0] === 0;
  const dims = [columns, rows];
  const name = `${weight.tensor.name}${stands ? '_transposed' : ''}`;
  const turned = <T extends Float32Array | Int8Array>(matrix: T): T => fromRows(matrix, rowView(dims, [1]));
  const matrix = makeTensor(weight.tensor.name, 'float32', dims, turned(weight.rows()));
  const params = found
    ? { ...found.params, granularity: { per: 'channel', axis: 1 } as const }
    : formatParams(matrix, weights, perChannel ? 1 : undefined, 'minmax');
  const held = found ? turned(Int8Array.from(found.codes)) : quantize(floatData(matrix), dims, params);
  const codes = draft.add(`${name}_quantized`, makeTensor('codes', 'int8', dims, held));
  const { scale, zeroPoint } = addParams(draft, name, dims, params, 'int8');
  return { names: [codes, scale, zeroPoint], params };
}
