import type { CollectBounds, PassContext } from '../../../src/passes/pass.ts';
import type { Statistic } from '../../../src/numerics/calibrators.ts';
import { calibrate, calibration } from '../../../src/passes/quantize/calibrate.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';

const feeds = [1, 2].map((seed) => ({ x: floats(noise(seed, 4 * 192), [4, 3, 8, 8]) }));
const format = { kind: 'int', bits: 8, signed: false, symmetric: false } as const;
const formats = new Map([['x', format]]);
const all = feeds.flatMap(({ x }) => [...(x.data as Float32Array)]);

/** Ranges by a method, what was asked of the run, and what was noted where it takes `passes`. */
async function asked(options: object, passes = 1) {
  const own = testContext({ calibration: feeds });
  const calls: { samples?: number | undefined; elements?: number | undefined; bounds?: CollectBounds<Statistic> }[] =
    [];
  const collect = ((model, wanted, samples, elements, bounds) => {
    calls.push({ samples, elements, bounds: bounds as never });
    bounds?.planned?.(passes, 2_340_000);
    return own.collect(model, wanted, samples);
  }) as PassContext['collect'];
  const notes: string[] = [];
  const context = { ...testContext({ reference: smallConvNet() }), collect };
  const ranges = await calibrate(smallConvNet(), formats, calibration.parse(options), context, (text) => notes.push(text)); // prettier-ignore
  return { range: ranges.get('x')!, call: calls[0]!, calls: calls.length, notes };
}

describe('calibrate', () => {
  it('takes the extremes of all samples by default', async () => {
    const { range, call, calls } = await asked({});
    expect(range).toMatchObject({ min: Math.min(...all), max: Math.max(...all) });
    expect([calls, call.samples, call.elements]).toEqual([1, 512, 2 ** 18]);
    expect(call.bounds?.memoryLimit).toBeUndefined();
  });

  it('of a percentile leaves as many values out as it says', async () => {
    const { range } = await asked({ method: 'percentile', percentile: 90, elements: 'all', samples: 100 });
    const kept = all.filter((v) => v >= range.min && v <= range.max).length / all.length;
    // A histogram of 2048 bins tells shares of a few thousand values to a percent.
    expect(Math.abs(kept - 0.9)).toBeLessThan(0.02);
  });

  it('passes the limits on, in bytes', async () => {
    const { call } = await asked({ samples: 3, elements: 'all', memory_limit: 64 });
    expect(call).toMatchObject({ samples: 3, elements: undefined, bounds: { memoryLimit: 64e6 } });
    expect((await asked({ elements: 5000 })).call.elements).toBe(5000);
  });

  it.each<[object, number, string[]]>([
    [{}, 1, []],
    [{}, 2, ['calibration: 2 passes over the data, at most 2.3 MB a run']],
    [{ memory_limit: 9 }, 1, ['calibration: 1 passes over the data, at most 2.3 MB a run']],
  ])('with %j says of %d passes: %j', async (options, passes, wanted) => {
    expect((await asked(options, passes)).notes).toEqual(wanted);
  });

  it('keeps a statistic for whatever method reads it, but not for another statistic', async () => {
    const key = async (options: object): Promise<string> =>
      JSON.stringify((await asked(options)).call.bounds?.keeping?.options);
    expect(await key({ method: 'entropy' })).toBe(await key({ method: 'percentile', percentile: 99 }));
    expect(await key({ method: 'entropy' })).not.toBe(await key({ method: 'entropy', num_bins: 512 }));
    expect(await key({ method: 'minmax' })).not.toBe(await key({ method: 'average_minmax' }));
  });

  it('names the value that is not finite', async () => {
    const bad = feeds.map(({ x }) => ({ x: { ...x, data: (x.data as Float32Array).map((v, i) => (i === 3 ? NaN : v)) } })); // prettier-ignore
    const context = testContext({ calibration: bad });
    await expect(calibrate(smallConvNet(), formats, calibration.parse({}), context)).rejects.toMatchObject({ at: 'x' });
  });

  it.each<[object, boolean]>([
    [{ method: 'mean' }, false],
    [{ samples: 0 }, false],
    [{ samples: 1 }, true],
    [{ elements: 4095 }, false],
    [{ elements: 4096 }, true],
    [{ num_bins: 127 }, false],
    [{ num_bins: 128 }, true],
    [{ num_bins: 65537 }, false],
    [{ num_quantized_bins: 1 }, false],
    [{ num_quantized_bins: 2 }, true],
    [{ percentile: 50 }, false],
    [{ percentile: 101 }, false],
    [{ percentile: 100 }, true],
    [{ averaging_constant: 0 }, false],
    [{ averaging_constant: 1 }, true],
    [{ averaging_constant: 1.1 }, false],
    [{ average_per: 'epoch' }, false],
    [{ average_per: 'sample' }, true],
    [{ average_per: 'batch' }, true],
    [{ p: 0 }, false],
    [{ n_stds: -1 }, false],
    [{ memory_limit: 0 }, false],
    [{ what: 1 }, false],
  ])('options %j: %s', (options, fine) => {
    expect(calibration.safeParse(options).success).toBe(fine);
  });
});
