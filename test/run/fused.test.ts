import { fusedText, withFused } from '../../src/run/fused.ts';
import type { LayerReport } from '../../src/run/report.ts';

const layer = (name: string, sqnr: number, own: number, inherited = Infinity, kernel = 'integer') =>
  ({ layer: name, sqnr, own, inherited, kernel }) as unknown as LayerReport;

describe('fusedText', () => {
  it('is of the first layer that its own and its inherited error do not explain', () => {
    const text = fusedText([layer('fine', 50, 51), layer('conv1', 15.4, 51.2), layer('conv2', 16, 40, 47)], true);
    expect(text).toMatch(/^the output of conv1 is at 15\.4 dB, .* only 51\.2 dB: .* saturate on this processor$/);
    expect(fusedText([layer('conv1', 15.4, 51.2)], false)).toMatch(/computes otherwise$/);
  });

  it.each([
    ['errors that add up', layer('a', 17, 20, 20)],
    ['a layer that is good all the same', layer('a', 45, 90)],
    ['a float kernel', layer('a', 15, 50, Infinity, 'float')],
    ['a layer of which nothing is known', { layer: 'a', kernel: 'integer', sqnr: 3 } as unknown as LayerReport],
  ])('is none for %s', (_, one) => {
    expect(fusedText([one], true)).toBeUndefined();
  });

  it('stands behind where the error enters', () => {
    expect(withFused(['where', 'why'], 'fused')).toEqual(['where', 'fused', 'why']);
    expect(withFused(['where'], undefined)).toEqual(['where']);
    expect(withFused([], 'fused')).toEqual(['fused']);
  });
});
