import * as z from 'zod';
import { intAttribute } from '../../graph/attribute.ts';
import { makeNode } from '../../graph/build.ts';
import { edit, type Draft } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { upgradeOpset } from '../../graph/opset.ts';
import { isOp, layerName } from '../../graph/query.ts';
import { dimsOf, floatData, makeTensor, transposed } from '../../graph/tensor.ts';
import type { Granularity } from '../../numerics/format.ts';
import { minMaxParams, quantize } from '../../numerics/quantize.ts';
import { prepare } from '../fold/prepare.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { blocksOf, padded, storeFolded } from './folded.ts';
import { overrideSelectors, overrides, resolveOverrides } from './formats.ts';
import { dequantizedName, quantizedName } from './qdq.ts';
import { weightSites, type WeightSite } from './targets.ts';
import { paramTensors } from './weights.ts';

const options = z.strictObject({
  bits_weights: z
    .union([z.literal(4), z.literal(8)])
    .default(8)
    .meta({ description: 'bits of the stored weights' }),
  block_size: z
    .union([z.literal(16), z.literal(32), z.literal(64), z.literal(128), z.literal(256)])
    .nullable()
    .default(null)
    .meta({ description: 'weights of one output that share a scale; null = all weights of an output channel' }),
  overrides: overrides.default({}),
});

export type WeightsOnlyOptions = z.infer<typeof options>;

/**
 * Weight-only quantization, round to nearest: weights are stored as INT8 or INT4 and the model computes in float. MatMul and
 * Gemm decode by DequantizeLinear, which onnxruntime turns into MatMulNBits; all others by nodes that fold at load time.
 */
export const weightsOnlyQuantizer: Pass<WeightsOnlyOptions> = {
  name: 'quantize/weights_only',
  section: 'quantizers',
  classes: ['WeightOnlyQuantizer'],
  summary: 'INT8 or INT4 weights in the file, float arithmetic: smaller, and faster where MatMulNBits applies',
  source: 'ONNX DequantizeLinear (opset 21, blocked); onnxruntime MatMulNBits and constant folding',
  options,
  selectors: overrideSelectors,
  strength: {
    levels: (o) => (o.bits_weights === 4 ? [1, 0.5] : [1]),
    at: (o, t) => ({ ...o, bits_weights: t < 1 ? 8 : o.bits_weights }),
    describe: (o) => `weights ${o.bits_weights} bit`,
  },
  apply,
};

async function apply(model: Model, o: WeightsOnlyOptions, ctx: PassContext): Promise<PassResult> {
  const blocked = o.bits_weights === 4 || o.block_size !== null;
  const upgraded = upgradeOpset(model, blocked ? 21 : 13);
  const prepared = await prepare(upgraded.model, ctx);
  const { sites, skipped } = weightSites(prepared.model);
  const override = resolveOverrides(o.overrides, prepared.model);
  const changed: Note[] = [];
  const left: Note[] = [...skipped];
  const quantized = edit(prepared.model, (draft) => {
    draft.requireOpset('', blocked ? 21 : 13);
    for (const site of sites) {
      const layer = layerName(site.node);
      const own = override(site.node);
      if (own?.bits_weights === null) {
        left.push({ layer, text: 'left in float by the schedule' });
        continue;
      }
      const bits = own?.bits_weights ?? o.bits_weights;
      changed.push({ layer, text: store(draft, site, bits <= 4 ? 4 : 8, o.block_size) });
    }
  });
  return {
    model: quantized,
    twin: prepared.model,
    changed,
    skipped: left,
    notes: [...[...upgraded.notes, ...prepared.notes].map((n) => `${n.layer}: ${n.text}`)],
  };
}

/** Stores one weight; returns what the report says of it. */
function store(draft: Draft, site: WeightSite, bits: 4 | 8, block: number | null): string {
  const { node, input, weight } = site;
  const matrix = isOp(node, 'MatMul', 'Gemm') && input === 1 && weight.dims.length === 2;
  const text = `weights int${bits}, one scale ${block ? `for ${block}` : 'a channel'}`;
  if (draft.current(node).input[input] !== weight.name) return text;
  const done = dequantizedName(weight.name);
  if (draft.nodes().some((n) => n.output[0] === done)) replace(draft, site, done);
  else if (matrix) storeMatrix(draft, site, bits, block);
  else {
    const format = { kind: 'int', bits, signed: true, symmetric: true, narrow: bits === 8 } as const;
    const blocks = blocksOf(dimsOf(weight), block);
    const { data, dims } = padded(floatData(weight), blocks);
    const params = minMaxParams(data, dims, format, { per: 'group', axis: 2, size: blocks.size }, weight.name);
    replace(
      draft,
      site,
      storeFolded(draft, weight.name, bits === 4 ? 'int4' : 'int8', blocks, quantize(data, dims, params), params),
    );
  }
  return `${text}; ${matrix ? 'MatMulNBits' : 'float weights at load time'}`;
}

function replace(draft: Draft, { node, input }: WeightSite, name: string): void {
  draft.update(node, { input: draft.current(node).input.map((old, i) => (i === input ? name : old)) });
}

/** A matrix behind DequantizeLinear, [K, N] as MatMulNBits wants it: a Gemm with transB gets its weight turned round. */
function storeMatrix(draft: Draft, site: WeightSite, bits: 4 | 8, block: number | null): void {
  const { node, weight } = site;
  const turned = isOp(node, 'Gemm') && intAttribute(node, 'transB', 0) === 1;
  const [first, second] = dimsOf(weight) as [number, number];
  const data = turned ? transposed(floatData(weight), first, second) : floatData(weight);
  const dims = turned ? [second, first] : [first, second];
  const name = `${weight.name}${turned ? '_transposed' : ''}`;
  const format = { kind: 'int', bits, signed: true, symmetric: true, narrow: bits === 8 } as const;
  const granularity: Granularity = block ? { per: 'group', axis: 0, size: block } : { per: 'channel', axis: 1 };
  const params = minMaxParams(data, dims, format, granularity, weight.name);
  const type = bits === 4 ? 'int4' : 'int8';
  const { scale, zeroPoint } = paramTensors(
    { scale: `${name}_scale`, zeroPoint: `${name}_zero_point` },
    dims,
    params,
    type,
  );
  draft.setInitializer(makeTensor(quantizedName(name), type, dims, quantize(data, dims, params)));
  draft.setInitializer(scale);
  draft.setInitializer(zeroPoint);
  const attributes: Record<string, number> = block ? { axis: 0, block_size: block } : { axis: 1 };
  if (!draft.nodes().some((n) => n.output[0] === dequantizedName(name)))
    draft.addNode(
      makeNode(
        'DequantizeLinear',
        [quantizedName(name), scale.name, zeroPoint.name],
        [dequantizedName(name)],
        attributes,
      ),
    );
  if (turned) draft.setAttribute(node, 'transB', 0);
  replace(draft, site, dequantizedName(name));
}
