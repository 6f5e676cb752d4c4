/** A layer whose width can be exchanged. */
export interface ExchangeItem {
  /** Rising. */
  readonly widths: readonly number[];
  readonly parameters: number;
}

export interface ExchangeTools {
  /** The measured damage of all layers at these widths together; less is better. */
  damage(bits: readonly number[]): Promise<number>;
  /** Whether the time is up. */
  expired(): boolean;
  progress(text: string): void;
  /** Other widths to begin with if they spend no more and are better: a plan should never lose against one width for all. */
  readonly alternatives?: readonly (readonly number[])[];
}

export interface Exchange {
  readonly bits: number[];
  readonly before: number;
  readonly after: number;
  readonly tried: number;
  readonly accepted: number;
  readonly ended: 'time' | 'done';
}

/** Exchanges that are tried before it is given up: the ones predicted to be best. */
const attempts = 6;

/**
 * Exchanges bits between layers while the damage of the whole falls and Σ parameters · bits does not rise. First every layer's
 * next width up and down is measured with all others as they are; from these differences the best exchange is predicted (one
 * layer gives a bit, others get what it frees), tried and kept if the whole is really better. Differences of layers that have
 * changed are measured again.
 */
export async function exchange(
  items: readonly ExchangeItem[],
  start: readonly number[],
  tools: ExchangeTools,
): Promise<Exchange> {
  let bits = [...start];
  let tried = 0;
  let accepted = 0;
  const at = async (candidate: readonly number[], text: string): Promise<number> => {
    tools.progress(text);
    tried++;
    return tools.damage(candidate);
  };
  const before = await at(bits, 'measuring the plan');
  let now = before;
  const limit = spent(items, start);
  for (const other of tools.alternatives ?? []) {
    if (spent(items, other) > limit || tools.expired()) continue;
    const damage = await at(other, 'measuring one width for all');
    if (damage < now) [bits, now] = [[...other], damage];
  }
  const next = (i: number, by: 1 | -1): number | undefined => {
    const { widths } = items[i] as ExchangeItem;
    return widths[widths.indexOf(bits[i]!) + by];
  };
  const replaced = (changes: ReadonlyMap<number, number>): number[] => bits.map((b, i) => changes.get(i) ?? b);
  const differences = { up: new Map<number, number>(), down: new Map<number, number>() };
  const look = async (i: number): Promise<void> => {
    for (const [list, by] of [
      [differences.up, 1],
      [differences.down, -1],
    ] as const) {
      list.delete(i);
      const width = next(i, by);
      if (width === undefined || tools.expired()) continue;
      list.set(i, (await at(replaced(new Map([[i, width]])), `layer ${i + 1} at ${width} bits`)) - now);
    }
  };
  const result = (ended: 'time' | 'done'): Exchange => ({ bits, before, after: now, tried, accepted, ended });
  for (const i of items.keys()) await look(i);

  for (;;) {
    const candidates = proposals(items, bits, limit, differences, next).slice(0, attempts);
    let changed: number[] | undefined;
    for (const { changes } of candidates) {
      if (tools.expired()) return result('time');
      const damage = await at(replaced(changes), `exchange ${accepted + 1}`);
      if (damage >= now) continue;
      bits = replaced(changes);
      now = damage;
      accepted++;
      changed = [...changes.keys()];
      break;
    }
    if (changed === undefined) return result(tools.expired() ? 'time' : 'done');
    for (const i of changed) await look(i);
  }
}

/** Σ parameters · bits. */
export const spent = (items: readonly ExchangeItem[], bits: readonly number[]): number =>
  items.reduce((sum, { parameters }, i) => sum + parameters * bits[i]!, 0);

/** Exchanges predicted to lower the damage, the best first. */
function proposals(
  items: readonly ExchangeItem[],
  bits: readonly number[],
  limit: number,
  { up, down }: { readonly up: ReadonlyMap<number, number>; readonly down: ReadonlyMap<number, number> },
  next: (i: number, by: 1 | -1) => number | undefined,
): { changes: Map<number, number>; predicted: number }[] {
  const slack = limit - spent(items, bits);
  const cost = (i: number, by: 1 | -1): number =>
    (items[i] as ExchangeItem).parameters * Math.abs((next(i, by) as number) - bits[i]!);
  const rising = [...up].filter(([, d]) => d < 0).sort(([a, x], [b, y]) => x / cost(a, 1) - y / cost(b, 1));
  const found: { changes: Map<number, number>; predicted: number }[] = [];
  for (const [giver, damage] of [[-1, 0] as const, ...down]) {
    const room = slack + (giver < 0 ? 0 : cost(giver, -1));
    const takers = rising.filter(([i]) => i !== giver && cost(i, 1) <= room);
    // All that fit, best for its cost first, and each alone: a small taker may be what keeps a large one out.
    for (const list of [takers, ...takers.map((taker) => [taker])]) {
      const changes = new Map<number, number>(giver < 0 ? [] : [[giver, next(giver, -1) as number]]);
      let [left, predicted] = [room, damage];
      for (const [i, gain] of list) {
        if (cost(i, 1) > left) continue;
        left -= cost(i, 1);
        predicted += gain;
        changes.set(i, next(i, 1) as number);
      }
      // A layer that can give without harm is worth it even where nobody can take.
      if (predicted < 0) found.push({ changes, predicted });
    }
  }
  // A large taker may need what several give; those that lose least for what they free come first.
  const giving = [...down].sort(([a, x], [b, y]) => x / cost(a, -1) - y / cost(b, -1));
  for (const [taker, gain] of rising) {
    const changes = new Map<number, number>([[taker, next(taker, 1) as number]]);
    let [left, predicted] = [slack - cost(taker, 1), gain];
    for (const [giver, damage] of giving) {
      if (left >= 0) break;
      if (giver === taker) continue;
      left += cost(giver, -1);
      predicted += damage;
      changes.set(giver, next(giver, -1) as number);
    }
    if (left >= 0 && predicted < 0 && changes.size > 2) found.push({ changes, predicted });
  }
  return found.sort((a, b) => a.predicted - b.predicted);
}
