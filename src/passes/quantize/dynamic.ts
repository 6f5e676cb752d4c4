import * as z from 'zod';
import { floatAttribute, intAttribute } from '../../graph/attribute.ts';
import { makeNode } from '../../graph/build.ts';
import { dtypes } from '../../graph/dtype.ts';
import { edit, type Draft } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { upgradeOpset } from '../../graph/opset.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { isOp, layerName } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor, transposed } from '../../graph/tensor.ts';
import { minMaxParams, quantize } from '../../numerics/quantize.ts';
import { prepare } from '../fold/prepare.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { embeddings, quantizeEmbedding } from './embedding.ts';
import { overrideSelectors, overrides, resolveOverrides } from './formats.ts';
import { dequantizedName, quantizedName, scaleName, zeroPointName } from './qdq.ts';
import { weightSites, type WeightSite } from './targets.ts';

const options = z.strictObject({
  bits_weights: z
    .number()
    .int()
    .min(2)
    .max(8)
    .default(8)
    .meta({ description: 'bits of the weights, held in int8; 7 where a processor without VNNI would saturate' }),
  per_channel: z.boolean().default(true).meta({ description: 'one weight scale an output channel' }),
  overrides: overrides.default({}),
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
  apply,
};

async function apply(model: Model, o: DynamicOptions, ctx: PassContext): Promise<PassResult> {
  const upgraded = upgradeOpset(model, 13);
  const prepared = await prepare(upgraded.model, ctx);
  const { sites, skipped } = weightSites(prepared.model);
  const override = resolveOverrides(o.overrides, prepared.model);
  const byHand = (node: NodeProto): string | undefined =>
    override(node)?.bits_weights === null ? 'left in float by the schedule' : undefined;
  const tables = embeddings(prepared.model, byHand);
  const changed: Note[] = [];
  // A table of another type is told by both.
  const told = new Set(skipped.map(({ layer }) => layer));
  const left: Note[] = [...skipped, ...tables.skipped.filter(({ layer }) => !told.has(layer))];
  const quantized = edit(prepared.model, (draft) => {
    draft.requireOpset('', 13);
    for (const site of sites) {
      if (isOp(site.node, 'Gather')) continue;
      const layer = layerName(site.node);
      const reason = byHand(site.node) ?? unfit(site);
      if (reason) left.push({ layer, text: reason });
      else {
        replace(draft, site, o);
        changed.push({
          layer,
          text: `weights int${o.bits_weights} ${o.per_channel ? 'per channel' : 'per tensor'}, activations uint8 at run time`,
        });
      }
    }
    for (const table of tables.sites) changed.push(quantizeEmbedding(draft, table));
  });
  return {
    model: quantized,
    twin: prepared.model,
    changed,
    skipped: left,
    notes: [...[...upgraded.notes, ...prepared.notes].map((n) => `${n.layer}: ${n.text}`)],
  };
}

function unfit({ node, input, weight }: WeightSite): string | undefined {
  if (isOp(node, 'Conv', 'ConvTranspose'))
    return 'ConvInteger is slower than float in onnxruntime (0.77 times at best): use static quantization';
  if (!isOp(node, 'Gemm', 'MatMul'))
    return `onnxruntime has no dynamic integer kernel for ${node.op_type} among standard operators`;
  if (input !== 1) return 'its constant stands on the left of the product';
  if (weight.dims.length !== 2)
    return `its weights have ${weight.dims.length} axes; MatMulInteger is fused for matrices only`;
  if (isOp(node, 'Gemm') && intAttribute(node, 'transA', 0) === 1) return 'transA is set';
  if (isOp(node, 'Gemm') && (floatAttribute(node, 'alpha', 1) !== 1 || floatAttribute(node, 'beta', 1) !== 1))
    return 'alpha or beta is not 1';
  return undefined;
}

function replace(
  draft: Draft,
  { node, weight }: WeightSite,
  { bits_weights: bits, per_channel: perChannel }: DynamicOptions,
): void {
  const [first, second] = dimsOf(weight) as [number, number];
  const turned = isOp(node, 'Gemm') && intAttribute(node, 'transB', 0) === 1;
  const dims = turned ? [second, first] : [first, second];
  const data = turned ? transposed(floatData(weight), first, second) : floatData(weight);
  const format = { kind: 'int', bits, signed: true, symmetric: true, narrow: true } as const;
  const params = minMaxParams(
    data,
    dims,
    format,
    perChannel ? { per: 'channel', axis: 1 } : { per: 'tensor' },
    weight.name,
  );
  const codes = quantize(data, dims, params);
  const name = `${weight.name}${turned ? '_transposed' : ''}`;
  const scaleDims = perChannel ? [dims[1] as number] : [];
  draft.setInitializer(makeTensor(quantizedName(name), 'int8', dims, codes));
  draft.setInitializer(makeTensor(scaleName(name), 'float32', scaleDims, params.scale));
  draft.setInitializer(makeTensor(zeroPointName(name), 'int8', scaleDims, Int8Array.from(params.zeroPoint)));

  const current = draft.current(node);
  const x = current.input[0] as string;
  const y = current.output[0] as string;
  const bias = isOp(node, 'Gemm') ? (current.input[2] ?? '') : '';
  const xq = { codes: quantizedName(x), scale: scaleName(x), zeroPoint: zeroPointName(x) };
  // Several products of one value share its quantization.
  if (!draft.nodes().some((n) => n.output[0] === xq.codes))
    draft.addNode(makeNode('DynamicQuantizeLinear', [x], [xq.codes, xq.scale, xq.zeroPoint]));
  const base = draft.freshName(`${y}_product`);
  const result = bias ? dequantizedName(base) : y;
  draft.removeNode(node);
  draft.addNode(
    makeNode(
      'MatMulInteger',
      [xq.codes, quantizedName(name), xq.zeroPoint, zeroPointName(name)],
      [`${base}_int`],
      {},
      { name: layerName(node) },
    ),
  );
  draft.addNode(makeNode('Cast', [`${base}_int`], [`${base}_float`], { to: dtypes.float32.code }));
  draft.addNode(makeNode('Mul', [xq.scale, scaleName(name)], [scaleName(base)]));
  draft.addNode(makeNode('Mul', [`${base}_float`, scaleName(base)], [result]));
  if (bias) draft.addNode(makeNode('Add', [result, bias], [y]));
}
