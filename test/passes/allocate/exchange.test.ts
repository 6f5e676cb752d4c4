import fc from '../../helpers/fc.ts';
import { exchange, spent, type ExchangeItem, type ExchangeTools } from '../../../src/passes/allocate/exchange.ts';

const wholes = [2, 3, 4, 5, 6, 7, 8];
const tools = { expired: () => false, progress: () => undefined };
type Damage = (bits: readonly number[]) => number;
const search = (
  items: readonly ExchangeItem[],
  start: readonly number[],
  damage: Damage,
  more: Partial<ExchangeTools> = {},
) => exchange(items, start, { ...tools, damage: (bits) => Promise.resolve(damage(bits)), ...more });
const cost = (items: readonly ExchangeItem[], bits: readonly number[]): number =>
  bits.reduce((sum, b, i) => sum + b * (items[i]?.parameters ?? 0), 0);

const anyLayers = fc.array(
  fc.record({
    parameters: fc.integer({ min: 1, max: 50 }),
    sensitivity: fc.integer({ min: 1, max: 1000 }),
    start: fc.integer({ min: 2, max: 8 }),
  }),
  { minLength: 1, maxLength: 5 },
);

describe('exchange', () => {
  it('takes the best exchange at each step, never spends more, and ends where none is left', async () => {
    await fc.assert(
      fc.asyncProperty(anyLayers, async (layers) => {
        const damage: Damage = (bits) => bits.reduce((sum, b, i) => sum + (layers[i]?.sensitivity ?? 0) * 4 ** -b, 0);
        const start = layers.map((l) => l.start);
        const items = layers.map((l) => ({ widths: wholes, parameters: l.parameters }));
        const said: string[] = [];
        const tried: (readonly number[])[] = [];
        const found = await search(items, start, (bits) => (tried.push(bits), damage(bits)), {
          progress: (text) => said.push(text),
        });
        expect(found).toMatchObject({ before: damage(start), after: damage(found.bits), ended: 'done' });
        // Damages add up here, so that what is predicted is what is found: nothing is tried in vain.
        const exchanges = tried.filter((_, k) => said[k]?.startsWith('exchange'));
        expect(said.filter((text) => text.startsWith('exchange'))).toEqual(
          exchanges.map((_, k) => `exchange ${k + 1}`),
        );
        expect([found.accepted, found.tried]).toEqual([exchanges.length, tried.length]);
        expect(found.bits).toEqual(exchanges.at(-1) ?? start);
        /** Damage after the best exchange of one bit that a layer gives and another one may take. */
        const best = (from: readonly number[]): number => {
          const moved = [-1, ...start.keys()].flatMap((giver) =>
            [...start.keys()].map((taker) => from.map((b, k) => b + Number(k === taker) - Number(k === giver))),
          );
          const may = moved.filter(
            (bits) => cost(items, bits) <= cost(items, start) && bits.every((b) => b >= 2 && b <= 8),
          );
          return Math.min(...may.map(damage));
        };
        let at: readonly number[] = start;
        for (const next of exchanges) {
          expect(cost(items, next)).toBeLessThanOrEqual(cost(items, start));
          expect(damage(next)).toBeLessThan(damage(at));
          expect(damage(next)).toBeLessThanOrEqual(best(at) * (1 + 1e-9));
          at = next;
        }
        expect(best(at)).toBeGreaterThanOrEqual(found.after * (1 - 1e-9));
      }),
      {
        numRuns: 60,
        // A small layer that takes first must not keep the large one from taking.
        examples: [
          [
            [
              { parameters: 1, sensitivity: 1, start: 2 },
              { parameters: 18, sensitivity: 2, start: 2 },
              { parameters: 18, sensitivity: 16, start: 5 },
            ],
          ],
        ],
      },
    );
  });

  it('stops when its time is up, wherever that is, with the best so far', async () => {
    const layers = [
      { parameters: 5, sensitivity: 900, start: 2 },
      { parameters: 9, sensitivity: 3, start: 7 },
      { parameters: 4, sensitivity: 50, start: 4 },
    ];
    const items = layers.map((l) => ({ widths: wholes, parameters: l.parameters }));
    const start = layers.map((l) => l.start);
    const until = async (calls: number) => {
      const seen: number[] = [];
      const damage: Damage = (bits) => {
        seen.push(bits.reduce((sum, b, i) => sum + (layers[i]?.sensitivity ?? 0) * 4 ** -b, 0));
        return seen.at(-1) as number;
      };
      const given = { expired: () => seen.length >= calls, alternatives: [[4, 4, 4]] };
      return { found: await search(items, start, damage, given), seen };
    };
    const whole = (await until(Infinity)).found;
    expect(whole).toMatchObject({ ended: 'done' });
    expect(whole.accepted).toBeGreaterThan(2);
    for (let calls = 1; calls <= whole.tried; calls++) {
      const { found, seen } = await until(calls);
      expect(found).toMatchObject({ tried: calls, ended: 'time', before: seen[0] });
      expect(seen).toContain(found.after);
      expect(found.after).toBeLessThanOrEqual(found.before);
      expect(spent(items, found.bits)).toBeLessThanOrEqual(spent(items, start));
    }
  });

  it('says what it measures', async () => {
    const said: string[] = [];
    const items = [{ widths: [2, 3], parameters: 1 }];
    await search(items, [2], ([b]) => (b === 2 ? 1 : 2), { alternatives: [[2]], progress: (text) => said.push(text) });
    expect(said).toEqual(['measuring the plan', 'measuring one width for all', 'layer 1 at 3 bits']);
  });

  it('begins with an alternative that is better and spends no more', async () => {
    const items = [2, 1].map((parameters) => ({ widths: [2, 3, 4, 5], parameters }));
    const alternatives = [
      [5, 5],
      [3, 3],
      [2, 2],
    ];
    // Only equal widths are good here, which no exchange of one bit leads to.
    const damage: Damage = ([a, b]) => (a === b ? 1 / (a as number) : 9);
    const found = await search(items, [2, 5], damage, { alternatives });
    expect(found).toMatchObject({ bits: [3, 3], before: 9, after: 1 / 3, accepted: 0 });
    // The plan and two alternatives, and up and down of both layers: [5, 5] is too dear.
    expect(found.tried).toBe(3 + 4);
    found.bits.push(0);
    expect(alternatives[1]).toEqual([3, 3]);
  });

  it('lets one large layer feed several small ones at once, the most useful for its cost first', async () => {
    // A bit of the first frees 10: 4 and 6 fit; 9 would gain most alone, but less for its cost.
    const items = [10, 9, 4, 6].map((parameters) => ({ widths: [4, 5], parameters }));
    const gains = [-1, 65, 39, 60];
    const damage: Damage = (bits) => 200 - bits.reduce((sum, b, i) => sum + (b - 4) * (gains[i] as number), 0);
    expect(await search(items, [5, 4, 4, 4], damage)).toMatchObject({ bits: [4, 4, 5, 5], after: 101, accepted: 1 });
  });

  it('lets several small layers feed a large one, those first that lose least for what they free', async () => {
    const items = [12, 6, 6, 6].map((parameters) => ({ widths: [4, 5], parameters }));
    const gains = [50, 10, 8, 9];
    const damage: Damage = (bits) => 200 - bits.reduce((sum, b, i) => sum + (b - 4) * (gains[i] as number), 0);
    expect(await search(items, [4, 5, 5, 5], damage)).toMatchObject({ bits: [5, 5, 4, 4], accepted: 1 });
    const uneven = [18, 6, 6, 12, 6].map((parameters) => ({ widths: [4, 5], parameters }));
    const losses = [50, 7, 8, 11, 6];
    const other: Damage = (bits) => 200 - bits.reduce((sum, b, i) => sum + (b - 4) * (losses[i] as number), 0);
    expect(await search(uneven, [4, 5, 5, 5, 5], other)).toMatchObject({ bits: [5, 5, 5, 4, 4], accepted: 1 });
    // Three of them lose more than it gains.
    const dear: ExchangeItem[] = [{ widths: [4, 5], parameters: 18 }, ...items.slice(1)];
    const little: Damage = (bits) => damage(bits) + 30 * ((bits[0] as number) - 4);
    expect(await search(dear, [4, 5, 5, 5], little)).toMatchObject({ bits: [4, 5, 5, 5], accepted: 0 });
    // All together free too little.
    const large: ExchangeItem[] = [{ widths: [4, 5], parameters: 19 }, ...items.slice(1)];
    expect(await search(large, [4, 5, 5, 5], damage)).toMatchObject({ bits: [4, 5, 5, 5], accepted: 0 });
    const exact: ExchangeItem[] = [{ widths: [4, 5], parameters: 18 }, ...items.slice(1)];
    expect(await search(exact, [4, 5, 5, 5], damage)).toMatchObject({ bits: [5, 4, 4, 4], accepted: 1 });
  });

  it('takes a bit whose loss is a gain, though nobody can use it', async () => {
    const items = [{ widths: [2, 3, 4], parameters: 7 }];
    expect(await search(items, [4], ([b]) => b as number)).toMatchObject({ bits: [2], accepted: 2 });
  });

  it('counts steps of different lengths by their length', async () => {
    // A step up of the second is half a bit; of the first, two.
    const items = [
      { widths: [2, 4], parameters: 10 },
      { widths: [2, 2.5, 3], parameters: 40 },
    ];
    const damage: Damage = ([a, b]) => 10 - 3 * ((a as number) - 2) - (b as number);
    // Giving half a bit of 40 weights frees the 20 that two bits of 10 weights take.
    expect(await search(items, [2, 3], damage)).toMatchObject({ bits: [4, 2.5], accepted: 1 });
    const larger = [{ widths: [2, 4], parameters: 11 }, ...items.slice(1)];
    expect(await search(larger, [2, 3], damage)).toMatchObject({ bits: [2, 3], accepted: 0 });
  });

  it('gives no bit to a layer that more bits harm', async () => {
    const items = [4, 1, 1].map((parameters) => ({ widths: [4, 5], parameters }));
    const damage: Damage = ([a, b, c]) => 10 - ((a as number) - 4) + 2 * ((b as number) - 4) - 3 * ((c as number) - 4);
    expect(await search(items, [5, 4, 4], damage)).toMatchObject({ bits: [4, 4, 5], after: 7 });
  });

  it('changes nothing for what is as good', async () => {
    const items = [1, 1].map((parameters) => ({ widths: [4, 5], parameters }));
    const found = await search(items, [5, 4], () => 1, { alternatives: [[4, 5]] });
    // The plan, the alternative, one step of each layer, and no exchange.
    expect(found).toMatchObject({ bits: [5, 4], accepted: 0, tried: 4 });
    // One more bit would be a gain, and what it costs takes it away again.
    const never: Damage = ([a, b]) => (a === 5 && b === 5 ? 0.5 : 1);
    expect(await search(items, [5, 4], never)).toMatchObject({ bits: [5, 4], accepted: 0, tried: 5 });
  });

  it('gives up after the six exchanges that were predicted to be best', async () => {
    // Every layer alone gains by more bits, and every real exchange is worse than nothing.
    const items = Array.from({ length: 9 }, () => ({ widths: [3, 4, 5], parameters: 1 }));
    const alone: Damage = (bits) => {
      const moved = bits.filter((b) => b !== 4);
      return moved.length === 0 ? 10 : moved.length === 1 && moved[0] === 5 ? 5 : 11;
    };
    const found = await search(items, Array<number>(9).fill(4), alone);
    expect(found).toMatchObject({ accepted: 0, after: 10, ended: 'done', tried: 1 + 18 + 6 });
  });
});
