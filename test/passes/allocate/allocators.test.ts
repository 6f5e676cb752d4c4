import { makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { tensorData } from '../../../src/graph/tensor.ts';
import { sensitivityAllocator } from '../../../src/passes/allocate/sensitivity.ts';
import { sqnrAllocator } from '../../../src/passes/allocate/sqnr.ts';
import { openProbe } from '../../../src/passes/allocate/probe.ts';
import { plannedLayers } from '../../../src/passes/allocate/layers.ts';
import { roundLayer, withRounded } from '../../../src/passes/allocate/rounded.ts';
import type { PassContext, PassResult, Plan } from '../../../src/passes/pass.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';

const images = [1, 2].map((seed): Feeds => ({ x: floats(noise(seed, 16 * 192), [16, 3, 8, 8]) }));
const context = (given: Partial<PassContext> = {}): PassContext => testContext({ calibration: images, ...given });

const bitsOf = (plan: Plan | undefined): Record<string, number> =>
  Object.fromEntries(
    [...(plan ?? [])].map(([name, { weights }]) => [name, weights?.kind === 'int' ? weights.bits : NaN]),
  );

const sqnr = (options: object, model: Model = smallConvNet(), given = context()): Promise<PassResult> =>
  sqnrAllocator.apply(model, sqnrAllocator.options.parse(options), given);
const sensitivity = (options: object, given = context()): Promise<PassResult> =>
  sensitivityAllocator.apply(smallConvNet(), sensitivityAllocator.options.parse(options), given);

/** Parameters of smallConvNet's layers. */
const parameters = { conv1: 216, conv2: 576, dw: 72, fc: 40 };
const spent = (bits: Record<string, number>): number =>
  Object.entries(parameters).reduce((sum, [name, count]) => sum + count * (bits[name] as number), 0);

describe('allocate/sqnr', () => {
  it('gives more bits to layers with fewer parameters, as the closed form does, within the budget', async () => {
    const { plan, model, changed, notes } = await sqnr({ budget: { weights: 4.5 }, gains: 'equal', kappa: 6 });
    const bits = bitsOf(plan);
    expect(bits.conv2).toBeLessThan(bits.conv1 as number);
    expect(bits.conv1).toBeLessThan(bits.dw as number);
    expect(spent(bits)).toBeLessThanOrEqual(4.5 * 904);
    expect(spent(bits)).toBeGreaterThan(4.3 * 904);
    expect(initializers(model.graph).get('conv2.weight')).toEqual(
      initializers(smallConvNet().graph).get('conv2.weight'),
    );
    expect(changed).toHaveLength(4);
    expect(changed[1]?.text).toMatch(/^\d bits: ideal .*576 parameters, κ 6\.0 dB a bit/);
    expect(notes?.[0]).toMatch(/^mean 4\.\d\d bits a weight/);
  });

  it('reaches a target SQNR at the output, as measured, with as few bits as that takes', async () => {
    for (const target of [15, 25]) {
      const { preview, plan } = await sqnr({ target_sqnr: target });
      const got = -10 * Math.log10(await (await openProbe(context(), smallConvNet(), 32)).noise(preview as Model));
      // Rounding to whole bits overshoots by up to one bit (6 dB); the prediction itself is good to 2 dB on this net.
      expect(got).toBeGreaterThan(target - 2);
      expect(got).toBeLessThan(target + 8);
      expect(spent(bitsOf(plan))).toBeLessThan(8 * 904);
    }
  });

  it('counts multiply-accumulates where bit operations are the budget', async () => {
    const { plan } = await sqnr({ budget: { bit_operations: '56%' }, gains: 'equal', kappa: 6 });
    const bits = bitsOf(plan);
    // conv2 has 64 positions × 576, fc 40 in all.
    const macs = { conv1: 64 * 216, conv2: 64 * 576, dw: 16 * 72, fc: 40 };
    const total = (b: Record<string, number>): number =>
      Object.entries(macs).reduce((sum, [name, count]) => sum + count * (b[name] as number), 0);
    expect(total(bits)).toBeLessThanOrEqual(0.56 * 8 * (64 * 792 + 16 * 72 + 40));
    expect(bits.fc).toBe(8);
    expect(bits.conv2).toBeLessThanOrEqual(4);
  });

  it('keeps limits, fixed ends and groups, and says so', async () => {
    const { plan, changed } = await sqnr({
      budget: { weights: 6 },
      gains: 'equal',
      first: 8,
      limits: { dw: { max: 3 } },
      together: ['/conv2|fc/'],
    });
    const bits = bitsOf(plan);
    expect(bits).toMatchObject({ conv1: 8, dw: 3 });
    expect(bits.conv2).toBe(bits.fc);
    expect(changed.map((c) => c.text).join('\n')).toMatch(/first layer[\s\S]*together[\s\S]*limited to 2 … 3 bits/);
  });

  it('lets layers that share a weight share its width', async () => {
    const tied = edit(smallConvNet(), (draft) => {
      draft.addNode(makeNode('Gemm', ['f', 'fc.weight', 'fc.bias'], ['y2'], { transB: 1 }, { name: 'fc2' }));
      draft.addOutput(makeValue('y2', 'float32', ['N', 5]));
    });
    const { plan, changed } = await sqnr({ budget: { weights: 4 } }, tied);
    expect(bitsOf(plan).fc).toBe(bitsOf(plan).fc2);
    expect(changed.find((c) => c.layer === 'fc, fc2')?.text).toContain('shares fc.weight');
  });

  it('refuses what cannot be', async () => {
    expect(() => sqnrAllocator.options.parse({})).toThrow('either a budget');
    expect(() => sqnrAllocator.options.parse({ budget: { weights: 4 }, target_sqnr: 20 })).toThrow('either a budget');
    await expect(sqnr({ budget: { weights: 1.5 } })).rejects.toThrow('cannot be met: it is 1.50 bits');
    await expect(sqnr({ budget: { bytes: 100 } })).rejects.toThrow('cannot be had');
    await expect(sqnr({ target_sqnr: 200 })).rejects.toThrow('cannot be reached');
    await expect(sqnr({ budget: { weights: 4 }, limits: { fc: { min: 7, max: 3 } } })).rejects.toThrow(
      'no width is left',
    );
    const quantized = context({ twin: smallConvNet() });
    await expect(sqnr({ budget: { weights: 4 } }, smallConvNet(), quantized)).rejects.toThrow('quantized already');
  });

  it('has weight-only widths where that quantizer is to follow', async () => {
    const { plan } = await sqnr({ budget: { weights: 6 }, quantizer: 'WeightOnlyQuantizer' });
    const bits = Object.values(bitsOf(plan));
    expect(new Set(bits)).toEqual(new Set([4, 8]));
    expect(bits.every((b) => [2, 4, 8].includes(b))).toBe(true);
  });
});

describe('allocate/sensitivity', () => {
  it('finds what trying every combination of measured damages finds', async () => {
    const widths = [2, 4, 6];
    const { plan } = await sensitivity({ budget: { weights: 3.6 }, widths });
    const chosen = bitsOf(plan);
    // The damages once more, by hand, and all 81 combinations.
    const model = smallConvNet();
    const { layers } = plannedLayers(model, await context().shapes(model), {
      ...{ widths, first: null, last: null, limits: {}, together: [], scales: 'mse' as const },
      quantizer: 'PostTrainLinearQuantizer',
    });
    const probe = await openProbe(context(), model, 32);
    const damage = await Promise.all(
      layers.map(async (layer) => {
        const row: number[] = [];
        for (const b of widths)
          row.push(await probe.noise(withRounded(model, new Map([[layer, roundLayer(layer, b, 'mse')]]))));
        return row;
      }),
    );
    let best = { damage: Infinity, bits: {} as Record<string, number> };
    for (let code = 0; code < 81; code++) {
      const picks = [code % 3, Math.floor(code / 3) % 3, Math.floor(code / 9) % 3, Math.floor(code / 27)];
      const bits = Object.fromEntries(layers.map((layer, i) => [layer.name, widths[picks[i] as number] as number]));
      const total = picks.reduce((sum, k, i) => sum + (damage[i]?.[k] as number), 0);
      if (spent(bits) <= 3.6 * 904 && total < best.damage) best = { damage: total, bits };
    }
    expect(chosen).toEqual(best.bits);
  });

  it('meets a target at the least cost', async () => {
    const { plan, preview } = await sensitivity({ target_sqnr: 20 });
    const got = -10 * Math.log10(await (await openProbe(context(), smallConvNet(), 32)).noise(preview as Model));
    // Damages add up to within 2 dB on this net.
    expect(got).toBeGreaterThan(18);
    expect(spent(bitsOf(plan))).toBeLessThan(8 * 904);
    await expect(sensitivity({ target_sqnr: 200 })).rejects.toThrow('cannot be reached');
  });

  it('takes a metric of the run as damage', async () => {
    // A metric that only the depthwise layer hurts.
    const float = initializers(smallConvNet().graph);
    const measure: PassContext['measure'] = (model) => {
      const changed = (name: string): number => {
        const [a, b] = [float, initializers(model.graph)].map((t) => tensorData(t.get(name) as never) as Float32Array);
        return (a as Float32Array).reduce((sum, w, i) => sum + Math.abs(w - (b?.[i] as number)), 0);
      };
      const metric = {
        name: 'top1',
        value: 90 - changed('dw.weight'),
        reference: 90,
        drop: changed('dw.weight'),
        unit: '%',
        higherIsBetter: true,
        samples: 9,
      } as const;
      return Promise.resolve({ metrics: [metric] });
    };
    const { plan } = await sensitivity({ budget: { weights: 3 }, damage: 'top1' }, context({ measure }));
    expect(bitsOf(plan)).toMatchObject({ dw: 8, conv2: 2 });
    const asked = sensitivity({ budget: { weights: 3 }, damage: 'top5' }, context({ measure }));
    await expect(asked).rejects.toThrow('"top5" is not measured');
  });
});

describe('quantizers obey a plan', () => {
  it('stores each layer in the planned width, activations in 8 bits, overrides before the plan', async () => {
    const widths: Record<string, number> = { conv1: 2, conv2: 5, dw: 3, fc: 7 };
    const plan: Plan = new Map(
      Object.entries(widths).map(([name, bits]) => [
        name,
        { weights: { kind: 'int', bits, signed: true, symmetric: true, narrow: true } as const },
      ]),
    );
    const quantized = async (options: object) => {
      const result = await staticQuantizer.apply(
        smallConvNet(),
        staticQuantizer.options.parse(options),
        context({ plan }),
      );
      return initializers(result.model.graph);
    };
    const tensors = await quantized({ bits_weights: 8 });
    for (const [name, bits] of Object.entries(widths)) {
      const codes = tensorData(tensors.get(`${name}.weight_quantized`) as never) as Int8Array;
      // Per channel from the extremes: some weight of each channel has the outermost code, ±(2^(bits−1) − 1).
      expect(codes.reduce((most, code) => Math.max(most, Math.abs(code)), 0)).toBe(2 ** (bits - 1) - 1);
    }
    expect(tensorData(tensors.get('r1_zero_point') as never)).toBeInstanceOf(Uint8Array);
    const overridden = await quantized({ overrides: { conv2: { bits_weights: 8 } } });
    const codes = tensorData(overridden.get('conv2.weight_quantized') as never) as Int8Array;
    expect(Math.max(...codes)).toBeGreaterThan(15);
  });
});
