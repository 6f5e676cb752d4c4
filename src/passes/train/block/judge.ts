import type { Feeds, Tensor } from '../../../data/types.ts';
import type { Model } from '../../../graph/model.ts';
import { partOf } from '../../../graph/part.ts';
import { QtoolError } from '../../../util/error.ts';
import { given, must } from '../../../util/must.ts';
import type { PassContext } from '../../pass.ts';
import type { Block } from './blocks.ts';
import type { BlockSamples } from './learn.ts';
import { stretchOf } from './samples.ts';

/** A block of a quantized model as a model of its own. @throws QtoolError('graph') where it reads more than its inputs. */
export function blockPart(model: Model, { inputs, outputs }: Block, { inputs: kept }: BlockSamples): Model {
  const own = new Set(inputs.map(({ value }) => value));
  const part = partOf(model, outputs.map(({ value }) => value), own); // prettier-ignore
  const other = part.needed.find((name) => !own.has(name));
  if (other !== undefined) throw new QtoolError('graph', `it reads "${other}" besides its input`);
  return part.model((name) => ({ type: 'float32', dims: [1, ...must(kept, name, 'the input').dims] }));
}

/** Σ (y − t)² / Σ t² of a block's outputs on the samples that judge, as the file computes them, in batches of this size. */
export async function errorOf(part: Model, samples: BlockSamples, size: number, ctx: PassContext): Promise<number> {
  let [error, power] = [0, 0];
  for (let from = samples.training; from < samples.all; from += size) {
    ctx.signal.throwIfAborted();
    const to = Math.min(samples.all, from + size);
    const feeds: Feeds = Object.fromEntries([...samples.inputs].map(([name, kept]): [string, Tensor] => [name, stretchOf(kept, from, to)])); // prettier-ignore
    const results = await ctx.compute(part, feeds);
    for (const [name, kept] of samples.wanted) {
      const t = stretchOf(kept, from, to).data as Float32Array;
      const y = given(results[name], name).data as Float32Array;
      for (let i = 0; i < t.length; i++) {
        error += (y[i]! - t[i]!) ** 2;
        power += t[i]! ** 2;
      }
    }
  }
  return power > 0 ? error / power : NaN;
}
