import { judgedBy } from './against.ts';
import { lines, type GreedyOptions } from './greedy.ts';
import type { Metric } from './metric.ts';
import { addShare, finishShare, startShare, type ShareState } from './share.ts';

/** Share of lines that a CTC model (OCR, speech) reads to the last character as they should be, in percent. */
export function ctc(options: GreedyOptions = {}): Metric<ShareState> {
  return {
    name: 'ctc',
    ...judgedBy(options.against, 100),
    summary: 'share of lines whose greedy CTC decoding is right to the last character',
    start: startShare,
    add(state, input) {
      for (const { wanted, own, float } of lines(input, options, 'ctc')) {
        const right = (line: readonly number[]): number => (line.join() === wanted.join() ? 1 : 0);
        addShare(state, 1, right(own), right(float));
      }
      return state;
    },
    finish: (state) => finishShare('ctc', state),
  };
}
