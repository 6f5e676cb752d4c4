import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import { QtoolError } from '../../util/error.ts';
import { seedOf } from '../../util/uniform.ts';
import type { Note, Pass, PassContext } from '../pass.ts';
import { quantizedLayers } from '../recover/sites.ts';
import { findBlocks, type Block } from './block/blocks.ts';
import { openGatherer } from './block/gather.ts';
import { holdCodes } from './block/held_codes.ts';
import { blockPart, errorOf } from './block/judge.ts';
import { learnBlock, type BlockSamples } from './block/learn.ts';
import { relaxedWeights } from './block/relaxed.ts';
import { learnableScales, storeBlock } from './block/store.ts';

const options = z.strictObject({
  blocks: z
    .enum(['auto', 'layer'])
    .default('auto')
    .meta({ description: 'what is rounded together: residual blocks and layers in a row, or each layer alone' }),
  max_layers: z.int().positive().default(5).meta({ description: 'most layers of a block; a larger one is taken layer by layer' }), // prettier-ignore
  samples: z.int().min(2).default(512).meta({ description: 'calibration samples; an eighth of them judges' }),
  steps: z.int().positive().default(1000).meta({ description: 'Adam steps a block' }),
  batch_size: z.int().positive().default(32).meta({ description: 'samples of a step' }),
  lr: z.number().positive().default(0.03).meta({ description: 'learning rate' }),
  lambda: z.number().min(0).default(0.1).meta({ description: 'weight of the term that drives roundings to 0 or 1' }),
  beta_start: z.number().positive().default(20),
  beta_end: z.number().positive().default(2),
  warmup: z.number().min(0).max(1).default(0.2).meta({ description: 'share of the steps without that term' }),
  drop: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .meta({ description: 'probability that a number is not rounded in a step: 0 is BRECQ, 0.5 QDrop' }),
  trust: z
    .number()
    .min(0)
    .max(1)
    .default(0)
    .meta({ description: 'where roundings begin: 0 at the float weights, 1 at the codes that are stored' }),
  bias: z.boolean().default(true).meta({ description: 'biases are trained too' }),
  activation_steps: z.boolean().default(true).meta({ description: 'scales of activations are trained too' }),
  memory: z
    .number()
    .positive()
    .default(512)
    .meta({ description: 'MiB of values of a block that are kept; fewer samples where they do not fit' }),
  seed: z.int().min(0).default(0).meta({ description: 'of batches and of what is dropped' }),
});

type Options = z.infer<typeof options>;

/**
 * Learns the roundings of a quantized model's weights block by block, front to back, so that each block's outputs on calibration data are
 * those of the float model, given the inputs that it has once all blocks before it are rounded. Unlike AdaRound's, the error is measured behind
 * several layers, their activations and the sum with a shortcut, so that their errors make up for each other.
 */
export const blockReconstruction: Pass<Options> = {
  name: 'train/block_reconstruction',
  section: 'extensions',
  follows: 'quantizers',
  classes: ['BlockReconstruction'],
  summary: 'learned rounding of quantized weights against the float outputs of whole blocks (BRECQ, QDrop)',
  source: 'Li et al. 2021, BRECQ (arXiv 2102.05426); Wei et al. 2022, QDrop (arXiv 2203.05740)',
  options,
  async apply(start, o, ctx) {
    const { twin } = ctx;
    if (!twin)
      return {
        model: start,
        changed: [],
        skipped: [],
        notes: ['nothing is quantized yet: put this after a quantizer'],
      };
    const shapes = await ctx.shapes(start);
    const asked = { blocks: o.blocks, most: o.max_layers };
    const blocksOf = (of: Model) => {
      const found = quantizedLayers(of, twin);
      const { blocks, skipped } = findBlocks(of, twin, shapes, found.layers, asked);
      return { blocks, skipped: [...found.skipped, ...skipped] };
    };
    const learnable = (block: Block) => (o.activation_steps ? learnableScales(start, block) : new Set<string>());
    const scales = new Set(blocksOf(start).blocks.flatMap((block) => [...learnable(block)]));
    const held = await holdCodes(start, scales, o.samples, ctx);
    let { model } = held;
    const { blocks, skipped: left } = blocksOf(model);
    const changed: Note[] = [];
    const skipped: Note[] = [...left];
    const gatherer = openGatherer(model, blocks, shapes, o, ctx);
    for (const [i, block] of blocks.entries()) {
      const say = (done: number, doing: string): void => ctx.progress((i + done) / blocks.length, `block ${i + 1} of ${blocks.length}, ${block.name}: ${doing}`); // prettier-ignore
      say(0, 'values');
      try {
        const samples = await gatherer.gather(model, block);
        const made = await reconstruct(
          model,
          { block, samples, scales: learnable(block) },
          { ...o, seed: seedOf(o.seed, i) },
          ctx,
          say,
        );
        (made.model ? changed : skipped).push({ layer: block.name, text: made.text });
        model = made.model ?? model;
      } catch (error) {
        if (!(error instanceof QtoolError) || !mendable.has(error.code)) throw error;
        skipped.push({
          layer: block.name,
          text: `left as it was: ${error.message}${error.hint === undefined ? '' : ` (${error.hint})`}`,
        });
      }
    }
    return { model, changed, skipped, notes: heldNotes(held.bits) };
  },
};

/** What is said of activations that are held in fewer bits than a byte. */
function heldNotes(bits: ReadonlyMap<string, number>): string[] {
  const widths = [...new Set(bits.values())].sort((a, b) => a - b);
  if (widths.length === 0) return [];
  return [`codes of ${bits.size} activations are held in ${widths.join(' and ')} bits, as the calibration data shows them`]; // prettier-ignore
}

/** Errors that are of a block alone. */
const mendable: ReadonlySet<string> = new Set(['graph', 'data', 'runtime']);

/** The model with a block rounded anew, or, where that is no better on samples that it did not learn from, a sentence alone. */
async function reconstruct(
  model: Model,
  { block, samples, scales }: { readonly block: Block; readonly samples: BlockSamples; readonly scales: ReadonlySet<string> }, // prettier-ignore
  o: Options,
  ctx: PassContext,
  say: (done: number, doing: string) => void,
): Promise<{ readonly model?: Model; readonly text: string }> {
  const part = blockPart(model, block, samples);
  const before = await errorOf(part, samples, samples.size, ctx);
  if (!Number.isFinite(before)) return { text: 'left as it was: what it gives in the float model is zero or not finite' }; // prettier-ignore
  const weights = block.layers.map((layer) => relaxedWeights(layer, o.trust));
  const learned = await learnBlock(part, block, { weights, scales, bias: o.bias, samples }, o, ctx, (done, error) => say(done, `error ${error.toPrecision(3)}`)); // prettier-ignore
  const stored = storeBlock(model, weights, scales, learned);
  const after = await errorOf(blockPart(stored.model, block, samples), samples, samples.size, ctx);
  const fewer = samples.all < o.samples ? `; ${samples.all} samples, ${samples.training} of them to learn from` : '';
  const fell = `error ${before.toExponential(2)} → ${after.toExponential(2)} of its outputs' power on other samples${fewer}`;
  if (!(after < before)) return { text: `left as it was, since training made it no better: ${fell}` };
  const text = `${stored.moved} of ${stored.weights} weights have another code, ${fell}${stored.text}`;
  return { model: stored.model, text };
}
