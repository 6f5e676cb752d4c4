import type { Batch } from '../data/types.ts';
import { edit, removeUnread } from '../graph/edit.ts';
import { exitsOf, ownOutputs, setExits } from '../graph/exits.ts';
import type { Model } from '../graph/model.ts';
import { scoreEntropy } from '../numerics/score_entropy.ts';
import { ahead, checkCancelled, realRows } from '../runtime/capture.ts';
import { checkThresholds, exitParts, scoreRows } from '../runtime/exits.ts';
import { withSession, type SessionOptions } from '../runtime/session.ts';
import { inferShapes } from '../runtime/shapes.ts';
import { given } from '../util/must.ts';
import { cost } from './cost.ts';

/** One exit of a model, or its end. */
export interface ExitUse {
  readonly output: string;
  /** In nats; undefined at the end, where all leave that are left. */
  readonly threshold: number | undefined;
  /** Samples that leave here. */
  readonly samples: number;
  /** % of them that are right here, and of all samples; undefined without labels, or where none leaves. */
  readonly accuracy: number | undefined;
  readonly accuracyOfAll: number | undefined;
  /** Multiply-accumulates of a sample that leaves here, with the branches that it passed. */
  readonly macs: number;
}

/** What early exits come to on data. */
export interface ExitUses {
  readonly exits: readonly ExitUse[];
  readonly samples: number;
  /** % that are right where they leave, and at the end were there no exits; undefined without labels. */
  readonly accuracy: number | undefined;
  readonly accuracyWithout: number | undefined;
  /** Mean multiply-accumulates of a sample, and those of the model without its exits. */
  readonly macs: number;
  readonly macsWithout: number;
}

/**
 * Where samples leave a model by the entropy of its exits' own scores, how often they are right there, and what it takes. All outputs are computed for
 * every sample, so that each exit's accuracy is known on all of them; `openExits` stops where these figures say.
 * @param sample a batch of one, for shapes.
 * @param thresholds one an exit, in nats.
 * @throws QtoolError('model') for a model without exits, QtoolError('usage') for thresholds of another number.
 */
export async function exitUses(
  model: Model,
  batches: AsyncIterable<Batch>,
  sample: Batch,
  thresholds: readonly number[] = exitsOf(model).map(({ threshold }) => threshold),
  options: SessionOptions & { readonly signal?: AbortSignal } = {},
): Promise<ExitUses> {
  const { exits, parts } = await exitParts(model, sample);
  checkThresholds(exits, thresholds);
  const shapes = await inferShapes(model, sample);
  const macsOf = (one: Model): number => cost(one, shapes).macs;
  const outputs = [...exits.map(({ output }) => output), given(ownOutputs(model)[0], 'the output').name];
  const sums = outputs.map(() => ({ left: 0, right: 0, rightOfAll: 0 }));
  let [samples, labelled] = [0, true];
  await withSession(model, options, async (session) => {
    for await (const batch of ahead(batches)) {
      checkCancelled(options.signal);
      const results = await session.run(batch.feeds, outputs);
      const rows = outputs.map((name) => scoreRows(realRows(given(results[name], name), batch), batch.count));
      for (let i = 0; i < batch.count; i++) {
        const label = batch.targets[i]?.label;
        labelled &&= label?.length === 1 && label[0]! >= 0;
        const leaves = rows.findIndex((scores, k) => k === exits.length || scoreEntropy(scores[i]!) <= thresholds[k]!);
        for (const [k, scores] of rows.entries()) {
          const right = best(scores[i]!) === label?.[0] ? 1 : 0;
          const sum = given(sums[k], 'the sums');
          sum.rightOfAll += right;
          if (k === leaves) [sum.left, sum.right] = [sum.left + 1, sum.right + right];
        }
      }
      samples += batch.count;
    }
  });
  let reached = 0;
  const uses = sums.map(({ left, right, rightOfAll }, k): ExitUse => {
    reached += macsOf(given(parts[k], 'the part'));
    const percent = (hits: number, of: number): number | undefined => (labelled && of > 0 ? (100 * hits) / of : undefined); // prettier-ignore
    return { output: outputs[k]!, threshold: thresholds[k], samples: left, accuracy: percent(right, left), accuracyOfAll: percent(rightOfAll, samples), macs: reached }; // prettier-ignore
  });
  const right = sums.reduce((all, sum) => all + sum.right, 0);
  return {
    exits: uses,
    samples,
    accuracy: labelled && samples > 0 ? (100 * right) / samples : undefined,
    accuracyWithout: uses.at(-1)?.accuracyOfAll,
    macs: uses.reduce((all, use) => all + use.samples * use.macs, 0) / Math.max(1, samples),
    macsWithout: macsOf(withoutExits(model)),
  };
}

/** The model with its own outputs alone. */
function withoutExits(model: Model): Model {
  const own = ownOutputs(model);
  return edit(model, (draft) => {
    draft.setOutputs(own);
    removeUnread(draft, new Set(own.map(({ name }) => name)));
    setExits(draft, []);
  });
}

/** The class of the highest score, the first of equals. */
const best = (scores: Float32Array): number => scores.reduce((top, v, i) => (v > scores[top]! ? i : top), 0);
