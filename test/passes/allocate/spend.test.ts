import * as z from 'zod';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { modelBytes } from '../../../src/graph/file.ts';
import { encodeModel, type Model } from '../../../src/graph/model.ts';
import { plannedLayers, type PlannedLayer } from '../../../src/passes/allocate/layers.ts';
import { latencyAllocator } from '../../../src/passes/allocate/latency.ts';
import { budgetStrength, oneConstraint, shareOf } from '../../../src/passes/allocate/options.ts';
import { repairAllocator } from '../../../src/passes/allocate/repair.ts';
import { sensitivityAllocator } from '../../../src/passes/allocate/sensitivity.ts';
import { packedBytes, spending } from '../../../src/passes/allocate/spend.ts';
import { sqnrAllocator } from '../../../src/passes/allocate/sqnr.ts';
import { encoder } from '../../../src/passes/encode/encode.ts';
import type { Plan } from '../../../src/passes/pass.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';

const shared = { first: null, last: null, limits: {}, together: [], scales: 'mse' as const };
const quantizer = 'PostTrainLinearQuantizer' as const;
const calibration = [{ x: floats(noise(1, 4 * 192), [4, 3, 8, 8]) }];
const layersOf = async (model: Model, given = calibration): Promise<readonly PlannedLayer[]> => {
  const shapes = await testContext({ calibration: given }).shapes(model);
  return plannedLayers(model, shapes, { ...shared, widths: null, quantizer }).layers;
};
const o = { cost: 'parameters' as const, quantizer };
/** Weights and multiply-accumulates of smallConvNet: 8 × 8 places, of the depthwise layer 4 × 4, for each of four images. */
const weights = [216, 576, 72, 40];
const macs = [64 * 216, 64 * 576, 16 * 72, 40].map((m) => 4 * m);
const sum = (list: readonly number[]) => list.reduce((a, b) => a + b, 0);

describe('what widths cost', () => {
  it('is weights times bits under a budget of mean bits, and under an SQNR', async () => {
    const layers = await layersOf(smallConvNet());
    for (const [budget, limit] of [
      [{ weights: 4.5 }, 4.5 * 904],
      [undefined, undefined],
    ] as const) {
      const spend = spending({ float: smallConvNet(), layers }, { ...o, budget });
      expect(layers.map((layer) => spend.of(layer, 3))).toEqual(weights.map((w) => 3 * w));
      expect(spend.limit).toBe(limit);
      expect(spend.describe(904 * 3.25)).toBe('3.25 bits a weight');
    }
    expect(spending({ float: smallConvNet(), layers: [] }, { ...o, budget: undefined }).describe(0)).toBe(
      '0.00 bits a weight',
    );
  });

  it('is MACs times both widths under a budget of bit operations, in numbers or of those at 8 by 8 bits', async () => {
    const layers = await layersOf(smallConvNet());
    const at = (budget: { bit_operations: number | string } | undefined) =>
      spending({ float: smallConvNet(), layers }, { ...o, cost: 'macs', budget });
    for (const spend of [at({ bit_operations: 1e7 }), at({ bit_operations: '50%' }), at(undefined)]) {
      expect(layers.map((layer) => spend.of(layer, 3))).toEqual(macs.map((m) => m * 3 * 8));
      expect(spend.describe(sum(macs) * 8 * 6)).toBe('75.0 % of the bit operations at 8 by 8 bits');
    }
    expect(at({ bit_operations: 1e7 }).limit).toBe(1e7);
    expect(at({ bit_operations: '50%' }).limit).toBeCloseTo(sum(macs) * 32, 6);
    expect(at(undefined).limit).toBeUndefined();
    expect(
      spending({ float: smallConvNet(), layers: [] }, { ...o, cost: 'macs', budget: undefined }).describe(0),
    ).toMatch(/^0\.0 %/);
  });

  it('is whole bytes of packed codes, tensor by tensor', async () => {
    const [conv1, , , fc] = (await layersOf(smallConvNet())) as [PlannedLayer, unknown, unknown, PlannedLayer];
    expect([packedBytes(conv1, 3), packedBytes(fc, 3), packedBytes(fc, 8)]).toEqual([81, 15, 40]);
    expect(packedBytes({ ...fc, weights: [...conv1.weights, ...fc.weights] }, 2.5)).toBe(68 + 13);
  });

  // Two MatMuls of many channels, so that each part of the estimate weighs: scales, zero points and biases, and what surrounds.
  it('is near the file that comes out, under a budget of bytes', async () => {
    const model = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 16])],
      outputs: [makeValue('y', 'float32', ['N', 8])],
      initializers: [
        ...[weight('w1', [16, 1500], 1), weight('b1', [1500], 2), weight('w2', [8, 1500], 3), weight('b2', [8], 4)],
      ],
      nodes: [
        makeNode('Gemm', ['x', 'w1', 'b1'], ['h']),
        makeNode('Relu', ['h'], ['r']),
        makeNode('Gemm', ['r', 'w2', 'b2'], ['y'], { transB: 1 }),
      ],
    });
    const feeds = [{ x: floats(noise(1, 64), [4, 16]) }];
    const layers = await layersOf(model, feeds);
    const plan: Plan = new Map(
      layers.map(({ name }) => [
        name,
        { weights: { kind: 'int', bits: 4, signed: true, symmetric: true, narrow: true } as const },
      ]),
    );
    const given = testContext({ calibration: feeds, plan, reference: model });
    const quantized = await staticQuantizer.apply(model, staticQuantizer.options.parse({}), given);
    const packed = await encoder.apply(quantized.model, encoder.options.parse({}), given);
    const file = encodeModel(packed.model).length;
    const spend = spending({ float: model, layers }, { ...o, budget: { bytes: file } });
    const codes = sum(layers.map((layer) => spend.of(layer, 4)));
    expect(codes).toBe(1500 * 12);
    // Names and nodes are guessed at 1,400 bytes a layer; scales, zero points and biases are 20,000.
    expect(Math.abs((spend.limit as number) - codes)).toBeLessThan(2 * 1400);
    const rest = file - (spend.limit as number);
    expect(spend.describe(codes)).toBe(`about ${codes + rest} bytes, ${codes} of them packed weights`);
    const half = spending({ float: model, layers }, { ...o, budget: { bytes: '50%' } });
    expect(half.limit).toBeCloseTo(modelBytes(model) / 2 - rest, 6);
    const least = (bytes: number) => () => spending({ float: model, layers }, { ...o, budget: { bytes } });
    expect(least(rest + codes / 2)).not.toThrow();
    expect(least(rest + codes / 2 - 1)).toThrow(
      expect.objectContaining({
        code: 'schedule',
        message: `the budget cannot be met: it is about ${rest + codes / 2 - 1} bytes, ${codes / 2 - 1} of them packed weights`,
        hint: `the least that these layers can get takes about ${rest + codes / 2} bytes, ${codes / 2} of them packed weights`,
      }) as never,
    );
    expect(least(rest)).toThrow(
      expect.objectContaining({
        code: 'schedule',
        message: `a file of ${rest} bytes cannot be had`,
        hint: expect.stringContaining(`takes about ${rest} bytes already`) as string,
      }) as never,
    );
  });
});

describe('options of allocators', () => {
  it('take one constraint', () => {
    expect(oneConstraint({})).toBe(false);
    expect(oneConstraint({ budget: { weights: 4 } })).toBe(true);
    expect(oneConstraint({ target_sqnr: 20 })).toBe(true);
    expect(oneConstraint({ budget: { weights: 4 }, target_sqnr: 20 })).toBe(false);
  });

  it('read shares', () => {
    expect([shareOf(' 16 %'), shareOf('2.5%'), shareOf(16)]).toEqual([0.16, 0.025, undefined]);
  });

  const { options } = sensitivityAllocator;
  it.each([
    [{ budget: { weights: 0.5 } }, true],
    [{ budget: { weights: 0.4 } }, false],
    [{ budget: { weights: 8.1 } }, false],
    [{ budget: { weights: 4, bytes: 5 } }, false],
    [{ budget: {} }, false],
    [{ budget: { bytes: 1 } }, true],
    [{ budget: { bytes: 0 } }, false],
    [{ budget: { bytes: '16 %' } }, true],
    [{ budget: { bytes: ' 1.25% ' } }, true],
    [{ budget: { bytes: '16' } }, false],
    [{ budget: { bytes: '1.%' } }, false],
    [{ budget: { bytes: '16% of it' } }, false],
    [{ budget: { bytes: 'of it 16%' } }, false],
    [{ budget: { bit_operations: '60%' } }, true],
    [{ budget: { bit_operations: 1e9 } }, true],
    [{ budget: { bit_operations: -1 } }, false],
    [{ target_sqnr: 20, widths: [] }, false],
    [{ target_sqnr: 20, widths: [2, 8] }, true],
    [{ target_sqnr: 20, widths: [0.2] }, false],
    [{ target_sqnr: 20, widths: [9] }, false],
    [{ target_sqnr: 20, first: 8, last: 8 }, true],
    [{ target_sqnr: 20, limits: { conv: { min: 3 } } }, true],
    [{ target_sqnr: 20, limits: { conv: { least: 3 } } }, false],
    [{ target_sqnr: 20, samples: 0 }, false],
    [{ target_sqnr: 20, samples: 1.5 }, false],
    [{ target_sqnr: 20, cost: 'macs', scales: 'coded', rounding: 'descent', quantizer: 'WeightOnlyQuantizer' }, true],
    [{ target_sqnr: 20, scales: 'minmax', damage: 'top1' }, true],
    [{ target_sqnr: 20, damage: '' }, false],
    [{ target_sqnr: 20, unknown: 1 }, false],
  ])('%j: %s', (given, fits) => {
    expect(options.safeParse(given).success).toBe(fits);
  });

  it('have the defaults that the page of allocators names', () => {
    expect(options.parse({ target_sqnr: 20, limits: { conv: {} } })).toEqual({
      target_sqnr: 20,
      cost: 'parameters',
      widths: null,
      first: null,
      formats: null,
      last: null,
      limits: { conv: { min: 2, max: 8 } },
      together: [],
      most_bits: 8,
      quantizer: 'PostTrainLinearQuantizer',
      scales: 'mse',
      rounding: 'nearest',
      samples: 128,
      damage: 'output',
    });
  });

  it('are each described, for the page and the editor', () => {
    type Shape = { properties?: Record<string, Shape>; anyOf?: Shape[]; description?: string; const?: unknown };
    const undescribed = (shape: Shape, path: string): string[] => [
      ...Object.entries(shape.properties ?? {}).flatMap(([name, own]) => [
        ...((own.description ?? '').length > 5 || own.const !== undefined || own.properties ? [] : [`${path}${name}`]),
        ...undescribed(own, `${path}${name}.`),
      ]),
      ...(shape.anyOf ?? []).flatMap((own) => undescribed(own, path)),
    ];
    for (const { options: own } of [sqnrAllocator, sensitivityAllocator, latencyAllocator, repairAllocator])
      expect(undescribed(z.toJSONSchema(own, { io: 'input' }) as Shape, '')).toEqual([]);
  });

  it('choose weight scales as quantizers do where widths are whole', () => {
    for (const { options: own } of [latencyAllocator, repairAllocator]) {
      expect(own.parse({}).scales).toBe('mse');
      expect(own.parse({ scales: 'minmax' }).scales).toBe('minmax');
      expect(own.safeParse({ scales: 'coded' }).success).toBe(false);
    }
  });

  it('are refused with what would be right', () => {
    expect(() => options.parse({})).toThrow('target_sqnr in dB');
    expect(() => options.parse({ budget: { bytes: '16' } })).toThrow("such as '16%'");
  });

  it('say where the patterns of layers stand', () => {
    const given = sqnrAllocator.options.parse({
      ...{ target_sqnr: 1, gains: 'equal', kappa: 6 },
      ...{ limits: { '/conv/': { max: 4 } }, together: ['a', '/b/'] },
    });
    expect(sqnrAllocator.selectors?.(given)).toEqual([
      { pattern: '/conv/', path: ['limits', '/conv/'], over: 'layers' },
      { pattern: 'a', path: ['together', 0], over: 'layers' },
      { pattern: '/b/', path: ['together', 1], over: 'layers' },
    ]);
    for (const pass of [latencyAllocator, repairAllocator] as const)
      expect(pass.selectors?.(pass.options.parse({ together: ['a'] }) as never)).toEqual([
        { pattern: 'a', path: ['together', 0], over: 'layers' },
      ]);
  });
});

describe('a weaker setting of an allocator', () => {
  const strength = budgetStrength();
  const at = (given: object, t: number) => strength.at(sqnrAllocator.options.parse(given), t);
  it.each([
    [{ target_sqnr: 20 }, { target_sqnr: 40 }, { target_sqnr: 30 }, ['SQNR 20.0 dB', 'SQNR 40.0 dB']],
    [
      { budget: { weights: 4 } },
      { budget: { weights: 8 } },
      { budget: { weights: 6 } },
      ['mean 4.00 bits', 'mean 8.00 bits'],
    ],
    [
      { budget: { bytes: '20%' } },
      { budget: { bytes: '50%' } },
      { budget: { bytes: '35%' } },
      ['20.0 % of bytes', '50.0 % of bytes'],
    ],
    // More than int8 takes is asked for: nothing to raise.
    [
      { budget: { bytes: '60%' } },
      { budget: { bytes: '60%' } },
      { budget: { bytes: '60%' } },
      ['60.0 % of bytes', '60.0 % of bytes'],
    ],
    [
      { budget: { bytes: 1000.4 } },
      { budget: { bytes: 2000.8 } },
      { budget: { bytes: 1500.6 } },
      ['1000 of bytes', '2001 of bytes'],
    ],
    [
      { budget: { bit_operations: '60%' } },
      { budget: { bit_operations: '100%' } },
      { budget: { bit_operations: '80%' } },
      ['60.0 % of bit operations', '100.0 % of bit operations'],
    ],
    [
      { budget: { bit_operations: 50 } },
      { budget: { bit_operations: 100 } },
      { budget: { bit_operations: 75 } },
      ['50 of bit operations', '100 of bit operations'],
    ],
  ])('of %j goes from it to %j', (asked, weakest, half, [first, last]) => {
    expect(at(asked, 1)).toMatchObject(asked);
    expect(at(asked, 0)).toMatchObject(weakest);
    expect(at(asked, 0.5)).toMatchObject(half);
    expect(strength.describe(at(asked, 1))).toBe(first);
    expect(strength.describe(at(asked, 0))).toBe(last);
  });

  it('of the allocator by latency is slower, and larger where it has a budget', () => {
    const { strength: own, options } = latencyAllocator;
    const setting = (given: object, t: number) => own?.at(options.parse(given), t) as never;
    expect(setting({ latency: 0.6, budget: { weights: 4 } }, 1)).toMatchObject({
      latency: 0.6,
      budget: { weights: 4 },
    });
    expect(setting({ latency: 0.6, budget: { weights: 4 } }, 0)).toMatchObject({ latency: 1, budget: { weights: 8 } });
    expect(setting({ latency: 0.6, budget: { weights: 12 } }, 0.5)).toMatchObject({
      latency: 0.8,
      budget: { weights: 12 },
    });
    expect(setting({}, 0)).toMatchObject({ latency: 1, budget: undefined });
    expect(own?.describe(setting({ latency: 0.6, budget: { weights: 4 } }, 0.5))).toBe('latency 80 %, mean 6.00 bits');
    expect(own?.describe(options.parse({}))).toBe('fastest');
  });
});
