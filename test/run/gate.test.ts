import type { MetricResult } from '../../src/metrics/metric.ts';
import { judge } from '../../src/run/gate.ts';
import type { Limit } from '../../src/schedule/types.ts';

const top1: MetricResult = {
  name: 'top1',
  value: 90,
  unit: '%',
  higherIsBetter: true,
  samples: 500,
  reference: 92,
  drop: 2,
  dropInterval: 0.8,
};
const gate = { metric: 'top1', maxDrop: 1, relative: false, onFail: 'undo' } as const;

describe('judge', () => {
  it('compares the drop in the metric’s own unit', () => {
    expect(judge(gate, [top1])).toMatchObject({ passed: false, why: 'top1 drop 2.00 points > 1.00 points' });
    expect(judge({ ...gate, maxDrop: 3 }, [top1])).toMatchObject({
      passed: true,
      why: 'top1 drop 2.00 points ≤ 3.00 points',
    });
  });

  it('takes a relative drop as a share of the float value', () => {
    // 2 of 92 are 2.17 %.
    expect(judge({ ...gate, relative: true, maxDrop: 0.02 }, [top1])).toMatchObject({
      passed: false,
      // 0.8 points of 92 are 0.87 %.
      why: 'top1 drop 2.17 % > 2.00 %; its 95 % interval on 500 samples, 1.30 % to 3.04 %, holds the limit: more samples may decide otherwise',
    });
    expect(judge({ ...gate, relative: true, maxDrop: 0.025 }, [top1]).passed).toBe(true);
  });

  it('gives the interval of the drop where the limit lies in it', () => {
    expect(judge({ ...gate, maxDrop: 1.9 }, [top1]).why).toBe(
      'top1 drop 2.00 points > 1.90 points; its 95 % interval on 500 samples, 1.20 points to 2.80 points, holds the limit: more samples may decide otherwise',
    );
    // Passed by luck is as much in doubt as failed by luck; 1.1 points from the limit are beyond ± 0.8.
    expect(judge({ ...gate, maxDrop: 2.5 }, [top1]).why).toContain('1.20 points to 2.80 points, holds the limit');
    expect(judge({ ...gate, maxDrop: 3.1 }, [top1]).why).toBe('top1 drop 2.00 points ≤ 3.10 points');
  });

  it('judges a value by its least or largest', () => {
    const mse: MetricResult = { ...top1, name: 'mse', value: 5e-4, unit: '', reference: 0, drop: 5e-4 };
    expect(judge({ metric: 'mse', max: 1e-3 }, [mse])).toMatchObject({ passed: true, why: 'mse 0.0005 ≤ 0.0010' });
    expect(judge({ metric: 'mse', max: 1e-4 }, [mse])).toMatchObject({ passed: false, why: 'mse 0.0005 > 0.0001' });
    const sqnr: MetricResult = { ...top1, name: 'sqnr', value: -4.1, unit: 'dB', reference: Infinity, drop: Infinity };
    expect(judge({ metric: 'sqnr', min: 25 }, [sqnr])).toMatchObject({
      passed: false,
      why: 'sqnr -4.10 dB < 25.00 dB',
      excess: 29.1,
    });
    expect(judge({ metric: 'sqnr', min: -5 }, [sqnr])).toMatchObject({ passed: true, why: 'sqnr -4.10 dB ≥ -5.00 dB' });
    // A model that differs in nothing is as good as one can be.
    expect(judge({ metric: 'sqnr', min: 25 }, [{ ...sqnr, value: Infinity, drop: 0 }]).passed).toBe(true);
    // Of a value the interval is its own, not the drop's.
    expect(judge({ metric: 'top1', min: 90.5 }, [{ ...top1, interval: 1 }]).why).toContain('89.00 % to 91.00 %, holds');
  });

  it('fails a value that is no number, and refuses a metric that was not measured', () => {
    expect(judge(gate, [{ ...top1, value: NaN, drop: NaN }]).passed).toBe(false);
    expect(() => judge({ ...gate, metric: 'map' }, [top1])).toThrow('the gate asks for "map", which was not measured');
  });

  const [sqnr, mse] = [
    { ...top1, name: 'sqnr', unit: 'dB' } as const,
    { ...top1, name: 'mse', unit: '', reference: 0 } as const,
  ];
  const drop = { ...gate, maxDrop: 1 };
  // [what, limit, result, whether it holds, by how much not].
  it.each<[string, Limit, MetricResult, boolean, number]>([
    ['a drop of as much as is allowed', { ...gate, maxDrop: 2 }, top1, true, 0],
    ['a value of the least', { metric: 'top1', min: 90 }, top1, true, 0],
    ['a value of the most', { metric: 'top1', max: 90 }, top1, true, 0],
    ['a value above the least', { metric: 'top1', min: 80 }, top1, true, -10],
    ['a gain', drop, { ...top1, value: 95, drop: -3 }, true, -4],
    // ∞ − ∞ is no number, but what is asked.
    ['infinity where infinity is asked', { metric: 'sqnr', min: Infinity }, { ...sqnr, value: Infinity }, true, 0],
    ['minus infinity', { metric: 'sqnr', min: 0 }, { ...sqnr, value: -Infinity }, false, Infinity],
    ['an infinite drop', { ...drop, metric: 'sqnr' }, { ...sqnr, drop: Infinity }, false, Infinity],
    ['a value that is no number beside a drop that is', drop, { ...top1, value: NaN, drop: 0 }, false, Infinity],
    ['a drop that is no number beside a value that is', drop, { ...top1, drop: NaN }, false, Infinity],
    [
      'a share of a negative reference',
      { ...drop, relative: true, maxDrop: 0.5 },
      { ...top1, reference: -8 },
      true,
      -0.25,
    ],
  ])('%s', (_, limit, result, passed, excess) => {
    expect(judge(limit, [result])).toMatchObject({ passed, excess });
  });

  it.each<[Limit, MetricResult, string]>([
    [{ metric: 'sqnr', min: 0 }, { ...sqnr, value: -Infinity }, 'sqnr -∞ dB < 0.00 dB'],
    [{ metric: 'sqnr', max: 0 }, { ...sqnr, value: Infinity }, 'sqnr ∞ dB > 0.00 dB'],
    // As many decimals as show on which side of the limit it is, and as many for the limit.
    [{ metric: 'mse', max: 0.1 }, { ...mse, value: 0.0999 }, 'mse 0.0999 ≤ 0.1000'],
    [
      { ...gate, maxDrop: 0.24 },
      { ...top1, drop: -0.0385, dropInterval: 0.01 },
      'top1 drop -0.04 points ≤ 0.24 points',
    ],
    [
      { ...gate, maxDrop: 0.5 },
      { ...top1, drop: -0.001, dropInterval: 0.01 },
      'top1 drop -0.001 points ≤ 0.500 points',
    ],
    [{ metric: 'mse', max: 1e-9 }, { ...mse, value: 2e-12 }, 'mse 2e-12 ≤ 1e-9'],
    [{ metric: 'mse', max: 0.2 }, { ...mse, value: 123.456 }, 'mse 123.46 > 0.20'],
    [{ metric: 'mse', max: 0.2 }, { ...mse, value: NaN }, 'mse is not a number'],
    [drop, { ...top1, value: NaN, drop: NaN }, 'top1 drop is not a number'],
  ])('writes numbers that can be read: %j', (limit, result, why) => {
    expect(judge(limit, [result]).why).toBe(why);
  });

  it('is in no doubt where the limit is the end of the interval, or where there is none', () => {
    expect(judge({ ...gate, maxDrop: 2.75 }, [{ ...top1, dropInterval: 0.75 }]).why).not.toContain('interval');
    expect(judge({ ...gate, maxDrop: 2.75 }, [{ ...top1, dropInterval: 0.76 }]).why).toContain('interval');
    const { dropInterval: _, ...none } = top1;
    expect(judge({ ...gate, maxDrop: 2 }, [none]).why).toBe('top1 drop 2.00 points ≤ 2.00 points');
  });

  it('names what was measured where the metric was not', () => {
    const refused = (metrics: MetricResult[]): unknown => {
      try {
        return judge({ ...gate, metric: 'map' }, metrics);
      } catch (error) {
        return error;
      }
    };
    const hint = (what: string): unknown => expect.stringContaining(`measured: ${what};`);
    expect(refused([top1, sqnr])).toMatchObject({ code: 'schedule', hint: hint('top1, sqnr') });
    expect(refused([])).toMatchObject({ code: 'schedule', hint: hint('nothing') });
  });
});
