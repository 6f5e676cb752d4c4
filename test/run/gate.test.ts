import type { MetricResult } from '../../src/metrics/metric.ts';
import { judge } from '../../src/run/gate.ts';

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

  it('turns round metrics that are better when lower, and derives the drop where a metric gives none', () => {
    const mse: MetricResult = { name: 'mse', value: 0.5, unit: '', higherIsBetter: false, samples: 9, reference: 0.2 };
    expect(judge({ ...gate, metric: 'mse', maxDrop: 0.25 }, [mse]).passed).toBe(false);
    expect(judge({ ...gate, metric: 'mse', maxDrop: 0.31 }, [mse]).passed).toBe(true);
  });

  it('fails a value that is no number, and refuses a metric that was not measured', () => {
    expect(judge(gate, [{ ...top1, value: NaN, drop: NaN }]).passed).toBe(false);
    expect(() => judge({ ...gate, metric: 'map' }, [top1])).toThrow('the gate asks for "map", which was not measured');
  });
});
