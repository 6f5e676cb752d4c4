import * as z from 'zod';
import { edit } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import type { Layer } from '../../graph/layer.ts';
import { layerName } from '../../graph/query.ts';
import { affineFormat, type AffineFormat } from '../../numerics/affine.ts';
import { prepare } from '../fold/prepare.ts';
import { QtoolError } from '../../util/error.ts';
import { must } from '../../util/must.ts';
import { noteLine, type Note, type Pass, type PassContext, type PassResult } from '../pass.ts';
import { allCodes } from './all_codes.ts';
import { storageOpset } from './folded.ts';
import { beforeRelu } from './gemm_relu.ts';
import { unfitForNBits } from './nbits.ts';
import { overrideSelectors, resolveOverrides, widthOverrides, type Overrides } from './formats.ts';
import { storages, storeWeight, type Storage } from './store_weight.ts';
import { weightKey, weightLayers } from './targets.ts';
import { retied, shareStored, tiedLookups, untied } from './tied.ts';
import { weightMethods, type WeightMethod } from './weight_methods.ts';
import { smallestType } from './weights.ts';

const described = (table: Readonly<Record<string, string>>): string =>
  Object.entries(table)
    .map(([name, text]) => `${name}: ${text}`)
    .join('; ');

const options = z.strictObject({
  bits_weights: z.number().int().min(2).max(8).default(8).meta({ description: 'bits of the stored weights: 2 to 8' }),
  block_size: z
    .union([z.literal(16), z.literal(32), z.literal(64), z.literal(128), z.literal(256)])
    .nullable()
    .default(null)
    .meta({ description: 'weights of one output that share a scale; null = all weights of an output channel' }),
  weights_symmetric: z
    .boolean()
    .default(true)
    .meta({ description: 'scales only; false gives every block a zero point, which costs as many bits as a weight' }),
  zero_points: z
    .enum(['integer', 'float'])
    .default('integer')
    .meta({ description: 'hqq without symmetry: float as its authors have them, 16 bits a block, decoded at load' }),
  method: z
    .enum(Object.keys(weightMethods) as [WeightMethod, ...WeightMethod[]])
    .default('rtn')
    .meta({ description: described(weightMethods) }),
  lp_norm: z
    .number()
    .positive()
    .max(2)
    .default(0.7)
    .meta({ description: 'hqq: exponent of the error; below 1 few large errors are let be for many small ones' }),
  samples: z.number().int().positive().default(256).meta({ description: 'calibration samples of gptq' }),
  damping: z
    .number()
    .positive()
    .default(0.01)
    .meta({ description: "gptq: share of the Hessian's mean diagonal added to it" }),
  order: z
    .enum(['activation', 'natural'])
    .default('activation')
    .meta({ description: "gptq: columns by falling input energy (the paper's act_order), or as they stand" }),
  storage: z
    .enum(Object.keys(storages) as [Storage, ...Storage[]])
    .default('standard')
    .meta({ description: described(storages) }),
  accuracy_level: z
    .union([z.literal(0), z.literal(4)])
    .default(4)
    .meta({
      description: 'MatMulNBits of packed storage: 0 computes in float32, 4 rounds activations to int8 (faster)',
    }),
  overrides: widthOverrides.default({}),
});

export type WeightsOnlyOptions = z.infer<typeof options>;

/**
 * Weight-only quantization: weights are stored in 2 to 8 bits and the model computes in float. MatMul and Gemm decode by
 * DequantizeLinear or MatMulNBits, all others by nodes that fold at load time.
 */
export const weightsOnlyQuantizer: Pass<WeightsOnlyOptions> = {
  name: 'quantize/weights_only',
  section: 'quantizers',
  classes: ['WeightOnlyQuantizer'],
  summary: '2 to 8 bit weights in the file, float arithmetic: smaller, and faster where MatMulNBits applies',
  source:
    'GPTQ: Frantar et al. 2022 (arXiv 2210.17323); HQQ: Badri and Shaji 2023; ONNX DequantizeLinear (opset 21, blocked); onnxruntime MatMulNBits, GatherBlockQuantized and constant folding',
  options,
  selectors: overrideSelectors,
  inBodies: {
    unseen: (o) => ({
      apply: (body, ctx) => apply(body, { ...o, method: o.method === 'gptq' ? 'mse' : o.method }, ctx),
      text: 'weights are rounded there by themselves',
    }),
  },
  strength: {
    levels: (o) => [...Array(9 - o.bits_weights).keys()].map((i) => 1 - i / 8),
    at: (o, t) => ({ ...o, bits_weights: Math.min(8, o.bits_weights + Math.round((1 - t) * 8)) }),
    describe: (o) => `weights ${o.bits_weights} bit`,
  },
  apply,
};

async function apply(model: Model, o: WeightsOnlyOptions, ctx: PassContext): Promise<PassResult> {
  const opset = neededOpset(o, ctx);
  const prepared = await prepare(model, ctx, opset);
  const { model: twin, copies } = untied(prepared.model);
  const { layers: sites, skipped } = weightLayers(twin);
  const width = widths(o, ctx, resolveOverrides(o.overrides, twin));
  const changed: Note[] = [];
  const left: Note[] = [...skipped];
  const chosen = sites.filter((site) => {
    if (width(site) === null) left.push({ layer: site.name, text: 'left in float by the schedule' });
    return width(site) !== null;
  });
  const tied = tiedLookups(chosen, width);
  const own = chosen.filter((site) => !tied.has(site));
  // GPTQ makes products right at the cost of the rows, and those are looked up here.
  const keyOf = (site: Layer): string => weightKey(site, width(site));
  const rows = new Set([...tied.values()].map(keyOf));
  const settings = {
    ...o,
    block: o.block_size,
    zero_points: o.weights_symmetric ? ('integer' as const) : o.zero_points,
  };
  const formatFor = (site: Layer): AffineFormat => formatOf(width(site) as number, o);
  const codes = await allCodes(twin, own, rows, { keyOf, formatFor }, settings, ctx);
  // A lookup that cannot be packed shares what its layer stores otherwise: packed beside that, the table would stand there twice.
  const open = new Set(
    [...tied]
      .filter(([lookup]) => unfitForNBits(lookup, width(lookup) as number, o.block_size) !== undefined)
      .map(([, layer]) => keyOf(layer)),
  );
  const shapes = await ctx.shapes(twin);
  const relus = beforeRelu(twin, shapes);
  const slow: Note[] = [];
  const quantized = edit(twin, (draft) => {
    draft.requireOpset('', opset);
    const stored = new Map<string, readonly string[]>();
    // Lookups last, which find their table in what a layer has stored.
    const order = [...own, ...tied.keys()];
    const keys = order.map((site) => keyOf(tied.get(site) ?? site));
    for (const [i, site] of order.entries()) {
      const other = tied.get(site);
      const found = must(codes, keyOf(other ?? site), 'the codes of');
      // Whoever comes last takes them: the codes of a large model are not held beside what is stored of them.
      if (keys.lastIndexOf(keyOf(other ?? site)) === i) codes.delete(keyOf(other ?? site));
      if (other) shareStored(draft, site, other, found.codes.params, stored);
      const store = {
        storage: o.storage === 'packed' && open.has(keyOf(other ?? site)) ? 'standard' : o.storage,
        bits: found.codes.params.format.bits,
        block: o.block_size,
        accuracy: o.accuracy_level,
        relu: relus.has(site.node),
      };
      const runs = storeWeight(draft, site, found.codes, store, stored);
      const many = rowsOf(shapes.get(site.node.output[0] ?? '')?.dims ?? []);
      if (runs.startsWith('MatMulNBits') && many > fewRows)
        slow.push({
          layer: site.name,
          text: `multiplies ${many} rows a sample: from ${fewRows} on MatMulNBits is no faster than float, or slower; "storage: folded" keeps float's speed`,
        });
      const scales = `one scale ${o.block_size ? `for ${o.block_size}` : 'a channel'}`;
      changed.push({
        layer: site.name,
        text: `weights int${found.codes.params.format.bits} (${found.method}${found.why ? `: ${found.why}` : ''}), ${scales}; ${runs}`,
      });
    }
  });
  return {
    model: retied(quantized, copies),
    twin,
    changed,
    skipped: left,
    notes: [...prepared.notes, ...slow].map(noteLine),
  };
}

/** Rows of a product at which MatMulNBits lost its lead over float32: 4 times at 1 row, 0.5 to 1.3 times at 64. */
const fewRows = 8;

const rowsOf = (dims: readonly number[]): number => dims.slice(0, -1).reduce((a, b) => a * b, 1);

/** Bits of a site's weights: schedule overrides > plan > default; null = float. */
function widths(o: WeightsOnlyOptions, ctx: PassContext, override: Overrides): (site: Layer) => number | null {
  return ({ node }) => {
    const own = override(node)?.bits_weights;
    if (own !== undefined) return own;
    const planned = ctx.plan.get(layerName(node))?.weights;
    if (planned?.kind === 'float') return null;
    if (planned?.kind === 'coded')
      throw new QtoolError('schedule', 'the plan gives this layer a coded step, which blocks of weights cannot have', {
        at: layerName(node),
        hint: 'give the allocator quantizer: WeightOnlyQuantizer',
      });
    return planned === undefined ? o.bits_weights : affineFormat(planned).bits;
  };
}

/** The operator set that the narrowest and the widest stored type need; blocks are known to DequantizeLinear from 21 on. */
function neededOpset(o: WeightsOnlyOptions, ctx: PassContext): number {
  const asked = [
    o.bits_weights,
    ...Object.values(o.overrides).map((own) => own.bits_weights ?? 8),
    ...[...ctx.plan.values()].map(({ weights }) => (weights?.kind === 'int' ? weights.bits : 8)),
  ];
  return Math.max(o.block_size === null ? 13 : 21, ...asked.map((bits) => storageOpset(smallestType(bits, true))));
}

function formatOf(bits: number, { weights_symmetric: symmetric }: WeightsOnlyOptions): AffineFormat {
  return { kind: 'int', bits, signed: symmetric, symmetric, narrow: symmetric && bits >= 8 };
}
