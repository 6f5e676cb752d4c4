import * as z from 'zod';
import type { Target } from '../data/types.ts';
import { QtoolError } from '../util/error.ts';
import { boxOptions, cornersOf, detections, elements, type Box } from './boxes.ts';
import { matched } from './detection.ts';
import { compared, type Metric } from './metric.ts';

const threshold = z.number().gt(0).max(1);
export const meanApOptions = boxOptions.extend({
  iou: z
    .union([threshold, z.array(threshold).min(1).max(20)])
    .describe('Boxes of an IoU of at least that are the same; of a list the mean over all. Default: 0.5, 0.55 … 0.95.')
    .optional(),
});

type Options = z.infer<typeof meanApOptions>;
const name = 'mean_ap';
const coco = Array.from({ length: 10 }, (_, i) => 0.5 + 0.05 * i);

/** Detections of a class at one IoU by score: right and wrong ones. Scores are told apart to one part in 4,096, so that their number has a bound. */
type Counts = Map<number, { right: number; wrong: number }>;

interface State {
  samples: number;
  /** Boxes that there are, by class. */
  readonly truth: Map<number, number>;
  /** By IoU, then class. */
  readonly own: Map<number, Counts>[];
  readonly float: Map<number, Counts>[];
}

/**
 * Mean average precision in percent, as COCO takes it: per class and IoU, precision at 101 levels of recall, the highest at that recall or a higher one, averaged; then
 * over IoUs and over classes that occur. The true boxes are `expected` in the data: `boxes` [n, 4] in the layout of the model's own, and `classes` [n].
 * Source: T.-Y. Lin et al., Microsoft COCO, ECCV 2014, and cocodataset.org/#detection-eval; without its areas and crowds.
 */
export function meanAp(options: Options = {}): Metric<State> {
  const thresholds = typeof options.iou === 'number' ? [options.iou] : (options.iou ?? coco);
  const empty = (): Map<number, Counts>[] => thresholds.map(() => new Map<number, Counts>());
  return {
    name,
    needs: 'outputs',
    summary: 'mean average precision of detections against the true boxes, %',
    start: () => ({ samples: 0, truth: new Map(), own: empty(), float: empty() }),
    add(state, { batch, outputs, reference }) {
      const found = (of: typeof outputs): Box[][] => detections(of, batch.count, { ...options, iou: undefined }, name, 0.001); // prettier-ignore
      const [own, float] = [found(outputs), found(reference)];
      for (let i = 0; i < batch.count; i++) {
        const truth = trueBoxes(batch.targets[i], options.layout ?? 'xyxy', batch.ids[i]);
        for (const { label } of truth) state.truth.set(label, (state.truth.get(label) ?? 0) + 1);
        for (const [t, iou] of thresholds.entries()) {
          count(state.own[t]!, own[i]!, truth, iou);
          count(state.float[t]!, float[i]!, truth, iou);
        }
        state.samples += 1;
      }
      return state;
    },
    finish({ samples, truth, own, float }) {
      const value = (by: readonly Map<number, Counts>[]): number => (100 * by.reduce((sum, classes) => sum + meanOver(classes, truth), 0)) / by.length; // prettier-ignore
      return compared({ name, value: value(own), unit: '%', higherIsBetter: true, samples }, value(float));
    },
  };
}

function count(classes: Map<number, Counts>, found: readonly Box[], truth: readonly Box[], iou: number): void {
  for (const [i, at] of matched(found, truth, iou).entries()) {
    const { label, score } = found[i]!;
    const counts = classes.get(label) ?? new Map<number, { right: number; wrong: number }>();
    classes.set(label, counts);
    const level = rounded(score);
    const entry = counts.get(level) ?? { right: 0, wrong: 0 };
    counts.set(level, entry);
    entry[at >= 0 ? 'right' : 'wrong'] += 1;
  }
}

/** A score to 12 bits of its fraction. */
function rounded(score: number): number {
  const unit = 2 ** (Math.floor(Math.log2(Math.max(Math.abs(score), 1e-6))) - 12);
  return Math.round(score / unit) * unit;
}

function meanOver(classes: ReadonlyMap<number, Counts>, truth: ReadonlyMap<number, number>): number {
  let sum = 0;
  for (const [label, total] of truth)
    sum += averagePrecision(classes.get(label) ?? new Map<number, { right: number; wrong: number }>(), total);
  return sum / truth.size;
}

/** Precision at recalls 0, 0.01 … 1, each the highest at that recall or beyond, averaged. Detections of equal scores count together. */
export function averagePrecision(counts: Counts, total: number): number {
  const curve: { recall: number; precision: number }[] = [];
  let [right, all] = [0, 0];
  for (const [, entry] of [...counts].sort(([a], [b]) => b - a)) {
    right += entry.right;
    all += entry.right + entry.wrong;
    curve.push({ recall: right / total, precision: right / all });
  }
  let [sum, best, at] = [0, 0, curve.length - 1];
  for (let level = 100; level >= 0; level--) {
    // 0.29 · 100 and the like must not fall beside a recall of exactly that.
    for (; at >= 0 && curve[at]!.recall >= level / 100 - 1e-12; at--) best = Math.max(best, curve[at]!.precision);
    sum += best;
  }
  return sum / 101;
}

function trueBoxes(target: Target | undefined, layout: NonNullable<Options['layout']>, at: string | undefined): Box[] {
  const { boxes, classes } = target?.expected ?? {};
  const n = classes?.dims[0] ?? -1;
  if (boxes?.dims.join() !== `${n},4` || classes?.dims.length !== 1)
    throw new QtoolError('data', `metric ${name}: the data has no true boxes for this sample`, { at, hint: 'Give expected: { boxes: [n, 4], classes: [n] } (kind: module, docs/data.md).' }); // prettier-ignore
  const [corners, labels] = [elements(boxes), elements(classes)];
  return Array.from({ length: n }, (_, i) => {
    const [a, b, c, d] = [0, 1, 2, 3].map((k) => corners[4 * i + k]!) as [number, number, number, number];
    return { corners: cornersOf([a, b, c, d], layout), label: labels[i]!, score: 1 };
  });
}
