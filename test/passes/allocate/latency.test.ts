import { latencyAllocator } from '../../../src/passes/allocate/latency.ts';
import { sensitivityAllocator } from '../../../src/passes/allocate/sensitivity.ts';
import type { PassContext, Plan } from '../../../src/passes/pass.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
import { optimizedOps } from '../../helpers/quality.ts';

const images = [1, 2].map((seed): Feeds => ({ x: floats(noise(seed, 16 * 192), [16, 3, 8, 8]) }));
const context = (given: Partial<PassContext> = {}): PassContext => testContext({ calibration: images, ...given });
const allocate = (options: object) =>
  latencyAllocator.apply(smallConvNet(), latencyAllocator.options.parse({ seconds: 1, ...options }), context());
const widthsOf = (plan: Plan | undefined) =>
  Object.fromEntries(
    [...(plan ?? [])].map(([name, { weights }]) => [name, weights?.kind === 'int' ? weights.bits : 'float']),
  );

describe('allocate/latency', () => {
  it('takes for each layer what was measured to be faster, where time alone counts', async () => {
    const { plan, changed } = await allocate({});
    for (const { layer, text } of changed) {
      const [integer, float] =
        /integer (\d+) µs, float between integers (\d+) µs/.exec(text)?.slice(1).map(Number) ?? [];
      expect(integer).toBeGreaterThan(0);
      // Equal microseconds may differ in what was rounded away.
      if (integer !== float) expect(widthsOf(plan)[layer] === 'float').toBe((float as number) < (integer as number));
      if (widthsOf(plan)[layer] !== 'float') expect(widthsOf(plan)[layer]).toBe(8);
    }
    expect(changed.map((c) => c.layer)).toEqual(['conv1', 'conv2', 'dw', 'fc']);
  });

  it('is the plain knapsack where time does not bind and float is not wanted', async () => {
    const { plan, notes } = await allocate({ latency: 2, float: false, budget: { weights: 4 } });
    const asked = sensitivityAllocator.options.parse({ budget: { weights: 4 } });
    const direct = await sensitivityAllocator.apply(smallConvNet(), asked, context());
    expect(widthsOf(plan)).toEqual(widthsOf(direct.plan));
    expect(notes?.[0]).toMatch(/^layers take \d+ % of their time in float at batch 1, [34]\.\d\d bits a weight/);
  });

  it('says which latency cannot be had', async () => {
    await expect(allocate({ latency: 0.0001 })).rejects.toThrow('cannot be reached');
  });

  it('leaves a layer in float where the plan says so', async () => {
    const plan: Plan = new Map([['dw', { weights: { kind: 'float', bits: 32 } }]]);
    const { model, skipped } = await staticQuantizer.apply(
      smallConvNet(),
      staticQuantizer.options.parse({}),
      context({ plan, reference: smallConvNet() }),
    );
    expect(skipped.map((s) => s.layer)).toEqual(['dw']);
    expect((await optimizedOps(model)).QLinearConv).toBe(2);
  });

  it('become slower and larger by halves where a gate asks for a weaker setting', () => {
    const { strength } = latencyAllocator;
    const at = (given: object, t: number) => {
      const options = strength!.at(latencyAllocator.options.parse(given), t);
      return [Math.round(1000 * options.latency!) / 1000, options.budget?.weights, strength!.describe(options)];
    };
    const given = { latency: 0.6, budget: { weights: 4 } };
    expect(at(given, 1)).toEqual([0.6, 4, 'latency 60 %, mean 4.00 bits']);
    expect(at(given, 0.5)).toEqual([0.8, 6, 'latency 80 %, mean 6.00 bits']);
    expect(at(given, 0)).toEqual([1, 8, 'latency 100 %, mean 8.00 bits']);
    expect(at({ budget: { weights: 16 } }, 0.5)).toEqual([0.65, 16, 'latency 65 %, mean 16.00 bits']);
    expect(at({}, 1)).toEqual([0.3, undefined, 'latency 30 %']);
    expect(strength!.describe(latencyAllocator.options.parse({}))).toBe('fastest');
  });

  it.each([
    [{ latency: 0 }, false],
    [{ latency: 2 }, true],
    [{ latency: 2.1 }, false],
    [{ budget: { weights: 0.9 } }, false],
    [{ budget: { weights: 32 } }, true],
    [{ budget: { weights: 33 } }, false],
    [{ budget: { bytes: 1 } }, false],
    [{ seconds: 0 }, false],
    [{ damage: 'top1' }, false],
    [{ target_sqnr: 20 }, false],
  ])('options %j: %s', (given, fits) => {
    expect(latencyAllocator.options.safeParse(given).success).toBe(fits);
  });

  it('have defaults', () => {
    expect(latencyAllocator.options.parse({})).toMatchObject({
      float: true,
      seconds: 60,
      damage: 'output',
      samples: 128,
    });
  });
});
