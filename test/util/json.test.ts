import { jsonText } from '../../src/util/json.ts';
import { report } from '../report/sample.ts';

describe('jsonText', () => {
  it('gives back a report as it was, but for what JSON cannot say', () => {
    const back = JSON.parse(jsonText(report)) as typeof report;
    const named = (_: string, value: unknown): unknown => (value === Infinity ? 'Infinity' : value);
    expect(back.stages).toEqual(report.stages.map((stage) => JSON.parse(JSON.stringify(stage, named)) as unknown));
    expect(back.baseline.metrics[1]?.value).toBe('Infinity');
    expect(back.layers[3]).not.toHaveProperty('sqnr');
  });

  it('writes what JSON has no word for', () => {
    const odd = {
      nan: NaN,
      low: -Infinity,
      big: 12n,
      huge: 2n ** 60n,
      map: new Map([['a', new Float32Array([0.5, Infinity])]]),
      set: new Set([1]),
      rule: /a|b/i,
    };
    expect(JSON.parse(jsonText(odd))).toEqual({
      nan: 'NaN',
      low: '-Infinity',
      big: 12,
      huge: '1152921504606846976',
      map: { a: [0.5, 'Infinity'] },
      set: [1],
      rule: '/a|b/i',
    });
  });

  it('ends in one newline', () => {
    expect(jsonText({ a: 1 }, 0)).toBe('{"a":1}\n');
  });
});
