import { judgedBy } from './against.ts';
import { lines, type GreedyOptions } from './greedy.ts';
import { compared, type Metric } from './metric.ts';
import { ratioHalfWidth } from './share.ts';

/**
 * Insertions, deletions and substitutions that make one sequence of another, each of cost 1.
 * Source: V. I. Levenshtein, 1966; by R. A. Wagner and M. J. Fischer, The string-to-string correction problem, JACM 21 (1974), one row at a time.
 */
export function editDistance(a: readonly number[], b: readonly number[]): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const swap = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(swap, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** Sums over lines of edits (own and the float model's), characters, and what the intervals need of them. */
interface CerState {
  samples: number;
  characters: number;
  charactersSquared: number;
  edits: number;
  editsSquared: number;
  editsCharacters: number;
  float: number;
  moreSquared: number;
  moreCharacters: number;
}

/**
 * Character error rate of greedy CTC decoding in percent: edits over characters, both summed over the lines; lower is better. Intervals are
 * those of a ratio over lines. Without any character in the wanted lines it is no number.
 */
export function cer(options: GreedyOptions = {}): Metric<CerState> {
  return {
    name: 'cer',
    ...judgedBy(options.against, 0),
    summary: 'character error rate of greedy CTC decoding, %; lower is better',
    start: () => ({ samples: 0, characters: 0, charactersSquared: 0, edits: 0, editsSquared: 0, editsCharacters: 0, float: 0, moreSquared: 0, moreCharacters: 0 }), // prettier-ignore
    add(state, input) {
      for (const { wanted, own, float } of lines(input, options, 'cer')) {
        const [n, edits, before] = [wanted.length, editDistance(own, wanted), editDistance(float, wanted)];
        state.samples += 1;
        state.characters += n;
        state.charactersSquared += n * n;
        state.edits += edits;
        state.editsSquared += edits * edits;
        state.editsCharacters += edits * n;
        state.float += before;
        state.moreSquared += (edits - before) ** 2;
        state.moreCharacters += (edits - before) * n;
      }
      return state;
    },
    finish({ samples, characters, charactersSquared, edits, float, ...of }) {
      const width = (sum: number, squares: number, cross: number): number =>
        100 * ratioHalfWidth(sum, squares, cross, characters, charactersSquared);
      const value = (100 * edits) / characters;
      return {
        ...compared({ name: 'cer', value, unit: '%', higherIsBetter: false, samples }, (100 * float) / characters),
        interval: width(edits, of.editsSquared, of.editsCharacters),
        dropInterval: width(edits - float, of.moreSquared, of.moreCharacters),
      };
    },
  };
}
