import { openProbe } from '../../../src/passes/allocate/probe.ts';
import { repairAllocator } from '../../../src/passes/allocate/repair.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { tensorData } from '../../../src/graph/tensor.ts';
import type { PassContext, Plan } from '../../../src/passes/pass.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
import { optimizedOps } from '../../helpers/quality.ts';

const images = [1, 2].map((seed): Feeds => ({ x: floats(noise(seed, 16 * 192), [16, 3, 8, 8]) }));
const context = (given: Partial<PassContext> = {}): PassContext => testContext({ calibration: images, ...given });
const parameters: Record<string, number> = { conv1: 216, conv2: 576, dw: 72, fc: 40 };

const planOf = (widths: Record<string, number>): Plan =>
  new Map(
    Object.entries(widths).map(([name, bits]) => [
      name,
      { weights: { kind: 'int', bits, signed: true, symmetric: true, narrow: true } as const },
    ]),
  );
const bitsOf = (plan: Plan | undefined): Record<string, number> =>
  Object.fromEntries(
    [...(plan ?? [])].map(([name, { weights }]) => [name, weights?.kind === 'int' ? weights.bits : NaN]),
  );
const spent = (bits: Record<string, number>): number =>
  Object.entries(bits).reduce((sum, [name, b]) => sum + b * (parameters[name] as number), 0);

/** Bits where they help least: the tiny last layer at 2, the largest at 8. */
const bad = planOf({ conv1: 2, conv2: 8, dw: 3, fc: 2 });

describe('allocate/repair', () => {
  it('makes a bad plan better for the same bits, before a quantizer', async () => {
    const given = context({ plan: bad });
    const { plan, preview, notes, changed } = await repairAllocator.apply(
      smallConvNet(),
      repairAllocator.options.parse({}),
      given,
    );
    expect(spent(bitsOf(plan))).toBeLessThanOrEqual(spent(bitsOf(bad)));
    expect(bitsOf(plan).conv2).toBeLessThan(8);
    expect(changed.map((c) => c.layer)).toContain('fc');
    const [before, after] =
      /output: ([\d.]+) dB before, ([\d.]+) dB after/
        .exec(notes?.[0] ?? '')
        ?.slice(1)
        .map(Number) ?? [];
    expect(after).toBeGreaterThan((before as number) + 3);
    const got = await (await openProbe(context(), smallConvNet(), 32)).noise(preview as Model);
    expect(-10 * Math.log10(got)).toBeCloseTo(after as number, 0);
  });

  it('stores changed layers of a quantized model anew: what is stored is what the quantizer would have made', async () => {
    const options = staticQuantizer.options.parse({ weight_scales: 'mse' });
    const { model, twin } = await staticQuantizer.apply(smallConvNet(), options, context({ plan: bad }));
    const given = context({ plan: bad, twin: twin as Model });
    const repaired = await repairAllocator.apply(model, repairAllocator.options.parse({}), given);
    expect(repaired.changed.length).toBeGreaterThan(0);
    const direct = await staticQuantizer.apply(smallConvNet(), options, context({ plan: repaired.plan as Plan }));
    const [mine, theirs] = [repaired.model, direct.model].map((m) => initializers(m.graph));
    for (const [name, tensor] of theirs as NonNullable<typeof theirs>) {
      const own = tensorData((mine as NonNullable<typeof mine>).get(name) as never) as Float32Array;
      const wanted = tensorData(tensor) as Float32Array;
      // The input's scale is found again as a quotient of float32 scales: a bias may fall on the other side of a half.
      const slack = name.includes('bias_quantized') ? 1 : 1e-6;
      own.forEach((v, i) => expect(Math.abs(v - (wanted[i] as number))).toBeLessThanOrEqual(slack));
    }
    expect(await optimizedOps(repaired.model)).toEqual(await optimizedOps(direct.model));
  });

  it('says what it needs', async () => {
    await expect(repairAllocator.apply(smallConvNet(), repairAllocator.options.parse({}), context())).rejects.toThrow(
      'no plan to repair',
    );
  });
});
