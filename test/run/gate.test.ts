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
      why: 'top1 drop 2.17 % > 2.00 %; within the noise of 500 samples (± 0.80)',
    });
    expect(judge({ ...gate, relative: true, maxDrop: 0.025 }, [top1]).passed).toBe(true);
  });

  it('says where the answer is within the noise of the samples', () => {
    expect(judge({ ...gate, maxDrop: 1.9 }, [top1]).why).toContain('within the noise of 500 samples (± 0.80)');
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
