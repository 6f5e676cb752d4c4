import type { Cure } from '../../src/run/cures.ts';
import { chosen, proposal, triedText } from '../../src/run/diagnosis.ts';

describe('of the cures', () => {
  const cures = (...all: number[]) => all.map((sqnr, i) => ({ cure: { label: `cure ${i}` }, sqnr }));

  it('the mildest that comes near the best is taken, where that is worth it', () => {
    const of = (sqnr: number, ...all: number[]): string | undefined => chosen(cures(...all), sqnr)?.cure.label;
    expect([of(10, 15, 20, 21.4), of(10, 15, 20, 21.5), of(10, 20, 15, 10)]).toEqual(['cure 1', 'cure 2', 'cure 0']);
    // Good enough: 25 dB and more.
    expect([of(10, 26, 40), of(24.5, 25.4, 40), of(10, 24, 40)]).toEqual(['cure 0', 'cure 1', 'cure 1']);
    expect([of(10, 11), of(10, 11.1), of(10)]).toEqual([undefined, 'cure 0', undefined]);
  });

  it('what takes as long as a run is proposed where nothing tried is good, beside a layer in float', () => {
    const [mild, float, dear]: Cure[] = [{ label: 'mild' }, { label: 'float', raised: { a: { bits_weights: null } } }, { label: 'dear', bits: 7, dear: true }]; // prettier-ignore
    const all = [mild!, float!, dear!];
    expect(proposal(all, { cure: mild!, sqnr: 20 }, 5)).toBe(mild);
    expect(proposal(all, { cure: mild!, sqnr: 19.9 }, 5)).toBe(dear);
    expect([proposal(all, undefined, 19), proposal(all, undefined, 21), proposal([mild!], undefined, 1)]).toEqual([dear, undefined, undefined]); // prettier-ignore
    expect(proposal(all, { cure: float!, sqnr: 15 }, 5)).toEqual({ label: 'float and dear', raised: { a: { bits_weights: null } }, bits: 7, dear: true }); // prettier-ignore
    expect(proposal([mild!, float!], { cure: float!, sqnr: 15 }, 5)).toBe(float);
  });

  it('what was tried is told', () => {
    const [one, two] = [cures(20), cures(15, 20)];
    expect(triedText(two, two[1], 10, '9 validation samples')).toMatch(/on 9 validation samples.*10\.0 dB before: cure 1 brings 20\.0 dB \(others: cure 0: 15\.0 dB\)$/); // prettier-ignore
    expect(triedText(one, one[0], 10, '')).toMatch(/: cure 0 brings 20\.0 dB$/);
    expect(triedText(two, undefined, 10, '')).toMatch(/nothing helped: cure 0: 15\.0 dB; cure 1: 20\.0 dB$/);
    expect(triedText([], undefined, 10, '')).toMatch(/nothing helped$/);
  });
});
