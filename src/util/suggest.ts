/**
 * Edit distance of two words: insertions, deletions, substitutions and swaps of neighbours, each costing 1 (optimal string
 * alignment; Damerau 1964, Levenshtein 1966).
 */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let cost = Math.min(last[j]! + 1, row[j - 1]! + 1, last[j - 1]! + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) cost = Math.min(cost, before[j - 2]! + 1);
      row.push(cost);
    }
    before = last;
    last = row;
  }
  return last[b.length]!;
}

// Names differ in spelling style more often than in letters: bitsWeights, bits-weights and bits_weights are one word.
const plain = (word: string): string => word.toLowerCase().replace(/[-_.\s]/g, '');

/**
 * The known name most like `word`, or undefined where none is near enough to be meant: at most one edit in three letters, or
 * `word` being the beginning of it. Of equally near names the first wins.
 */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  const asked = plain(word);
  if (asked === '') return undefined;
  let best: string | undefined;
  let bestCost = Infinity;
  for (const name of known) {
    const candidate = plain(name);
    const allowed = Math.max(1, Math.floor(Math.max(asked.length, candidate.length) / 3));
    let cost = editDistance(asked, candidate);
    if (cost > allowed) {
      if (asked.length < 3 || !beginsLike(candidate, asked)) continue;
      // A beginning counts, but only where nothing is within reach of the edits.
      cost = candidate.length;
    } else if (cost >= asked.length) {
      continue;
    }
    if (cost < bestCost) [best, bestCost] = [name, cost];
  }
  return best;
}

/** Whether a name begins with a word, or with one an edit in eight letters away. */
function beginsLike(name: string, word: string): boolean {
  const edits = Math.floor(word.length / 8);
  const lengths = Array.from({ length: 2 * edits + 1 }, (_, i) => word.length - edits + i);
  return lengths.some((length) => editDistance(word, name.slice(0, length)) <= edits);
}

/** ` (did you mean "x"?)` to put behind a message about an unknown name, or nothing. */
export function didYouMean(word: string, known: Iterable<string>): string {
  const name = nearest(word, known);
  return name === undefined ? '' : ` (did you mean "${name}"?)`;
}
