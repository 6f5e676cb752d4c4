import * as z from 'zod';
import { QtoolError } from '../util/error.ts';
import { against, judgedBy } from './against.ts';
import { compared, type Metric } from './metric.ts';
import { argmax, bothScores, startOf, type Scores } from './select.ts';
import { scoreOptions } from './topk.ts';

export const meanIouOptions = scoreOptions.extend({
  against: against.optional(),
  ignore: z.int().min(0).describe('A label that is not counted, as −1 is not: 255 in Pascal VOC.').optional(),
});

/** More classes than any segmentation has: a label beyond is a mistake, and no reason to take memory. */
const mostClasses = 65_536;

/** Pixels by class: where answer and truth agree, and how often each was seen. They are the diagonal and the sums of the confusion matrix. */
interface Tally {
  readonly both: number[];
  readonly answered: number[];
  readonly truth: number[];
}

const tally = (): Tally => ({ both: [], answered: [], truth: [] });

/** Mean over classes of intersection over union, in percent; classes that are in neither answers nor truth are not counted. */
function meanOf({ both, answered, truth }: Tally): number {
  let [sum, classes] = [0, 0];
  for (let c = 0; c < Math.max(answered.length, truth.length); c++) {
    const union = (answered[c] ?? 0) + (truth[c] ?? 0) - (both[c] ?? 0);
    if (union === 0) continue;
    sum += (both[c] ?? 0) / union;
    classes += 1;
  }
  return (100 * sum) / classes;
}

function count(state: Tally, answer: number, truth: number): void {
  const add = (counts: number[], at: number): void => void (counts[at] = (counts[at] ?? 0) + 1);
  add(state.answered, answer);
  add(state.truth, truth);
  if (answer === truth) add(state.both, truth);
}

/**
 * Mean intersection over union of segmentation classes (mIoU), over the pixels of all samples together, in percent. Judged by the float model's classes, or by labels,
 * one a position. Source: M. Everingham et al., The Pascal Visual Object Classes Challenge, IJCV 111 (2015), section 4.3.
 */
export function meanIou(
  options: z.infer<typeof meanIouOptions> = {},
): Metric<{ samples: number; own: Tally; float: Tally }> {
  const name = 'mean_iou';
  const byLabels = options.against === 'labels';
  return {
    name,
    ...judgedBy(options.against, 100),
    summary: 'mean intersection over union of the classes of all positions, %',
    start: () => ({ samples: 0, own: tally(), float: tally() }),
    add(state, input) {
      let scores: { own: Scores; float: Scores } | undefined;
      for (let sample = 0; sample < input.batch.count; sample++) {
        const label = byLabels ? input.batch.targets[sample]?.label : undefined;
        if (byLabels && label === undefined) continue;
        if (!scores || (label && scores.own.positions !== label.length)) scores = bothScores(input, label?.length, options, name); // prettier-ignore
        const { own, float } = scores;
        for (let p = 0; p < own.positions; p++) {
          const [mine, theirs] = [classAt(own, sample, p), classAt(float, sample, p)];
          const truth = label ? label[p]! : theirs;
          if (truth < 0 || truth === options.ignore) continue;
          if (truth >= (own.chosen ? mostClasses : own.classes)) throw beyond(truth, own, input.batch.ids[sample]);
          count(state.own, mine, truth);
          count(state.float, theirs, truth);
        }
        state.samples += 1;
      }
      return state;
    },
    finish({ samples, own, float }) {
      return compared({ name, value: meanOf(own), unit: '%', higherIsBetter: true, samples }, meanOf(float));
    },
  };
}

function classAt(scores: Scores, sample: number, position: number): number {
  const found = argmax(scores, startOf(scores, sample, position));
  if (found >= 0 && found < mostClasses) return found;
  throw new QtoolError('data', `metric mean_iou: output "${scores.name}" gives ${found}, which is no class from 0 to ${mostClasses - 1}`); // prettier-ignore
}

const beyond = (label: number, { name, classes }: Scores, at: string | undefined): QtoolError =>
  new QtoolError('data', `metric mean_iou: the label ${label} is none of the ${classes} classes of output "${name}"`, { at, hint: `Leave it out: metric: { name: mean_iou, ignore: ${label} }; name the class axis with axis.` }); // prettier-ignore
