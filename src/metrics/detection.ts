import { detections, iouOf, type Box, type BoxOptions } from './boxes.ts';
import type { Metric } from './metric.ts';
import { addShare, finishShare, startShare, type ShareState } from './share.ts';

/**
 * Pairs of boxes of two lists, each in at most one: from the best of `found` down, each takes the box of its class in `truth` that it overlaps most, of an IoU of at least
 * `least`. @returns for each of `found` the index in `truth`, −1 where there is none.
 */
export function matched(found: readonly Box[], truth: readonly Box[], least: number): number[] {
  const taken = new Set<number>();
  return found.map((box) => {
    let [at, most] = [-1, least];
    for (const [i, other] of truth.entries()) {
      if (taken.has(i) || other.label !== box.label) continue;
      const iou = iouOf(box, other);
      if (iou > most || (iou === most && at < 0)) [at, most] = [i, iou];
    }
    if (at >= 0) taken.add(at);
    return at;
  });
}

/**
 * Agreement of detections with the float model's: boxes after suppression that have a partner of their class there, among all boxes of both, in percent (the F1 score, or
 * Dice coefficient). Where neither finds any box it is no number.
 */
export function detection(options: BoxOptions = {}): Metric<ShareState> {
  const name = 'detection';
  return {
    name,
    needs: 'reference',
    perfect: 100,
    summary: 'share of boxes that both models find, by class and overlap, among all they find',
    start: startShare,
    add(state, { batch, outputs, reference }) {
      const own = detections(outputs, batch.count, options, name);
      const float = detections(reference, batch.count, options, name);
      for (const [i, boxes] of own.entries()) {
        const pairs = matched(boxes, float[i]!, options.iou ?? 0.5).filter((at) => at >= 0).length;
        const all = boxes.length + float[i]!.length;
        addShare(state, all, 2 * pairs, all);
      }
      return state;
    },
    finish(state) {
      return finishShare(name, state);
    },
  };
}
