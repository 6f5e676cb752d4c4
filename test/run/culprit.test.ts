import type { OwnError } from '../../src/analyze/own_error.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { MetricResult } from '../../src/metrics/metric.ts';
import { channelStats, type ChannelStats } from '../../src/numerics/channel_stats.ts';
import { culprit, dB, soundText, whereText, whyText, type Culprit } from '../../src/run/culprit.ts';
import { weight } from '../helpers/models.ts';

/** x → `conv` → `deep` (depthwise) → `sum`, which has no weights → `last` → y. */
const twin = makeModel({
  opset: 13,
  inputs: [makeValue('x', 'float32', ['N', 4, 8, 8])],
  outputs: [makeValue('y', 'float32', ['N', 4, 8, 8])],
  initializers: [weight('w', [4, 4, 1, 1], 1), weight('d', [4, 1, 3, 3], 2), weight('l', [4, 4, 1, 1], 3)],
  nodes: [
    makeNode('Conv', ['x', 'w'], ['c'], {}, { name: 'conv' }),
    makeNode('Conv', ['c', 'd'], ['e'], { group: 4, pads: [1, 1, 1, 1] }, { name: 'deep' }),
    makeNode('Add', ['e', 'c'], ['s'], {}, { name: 'sum' }),
    makeNode('Conv', ['s', 'l'], ['y'], {}, { name: 'last' }),
  ],
});
const names = ['conv', 'deep', 'sum', 'last'];
const errorOf = (layer: string, own: number, more: Partial<OwnError> = {}): OwnError =>
  ({ layer, value: `in of ${layer}`, rounded: undefined, own, input: own, weights: Infinity, inherited: Infinity, ...more }); // prettier-ignore
const errors = (...own: number[]): OwnError[] => own.map((one, i) => errorOf(names[i]!, one));
const top1 = (drop: number, dropInterval?: number): MetricResult => ({
  ...{ name: 'top1', value: 90 - drop, unit: '%', higherIsBetter: true, samples: 99, reference: 90, drop },
  ...(dropInterval === undefined ? {} : { dropInterval }),
});
const metrics = [{ name: 'top1' }, { name: 'sqnr', perfect: Infinity }];
const found = (own: readonly OwnError[], sqnr = 30, measured: MetricResult[] = []): Culprit | undefined =>
  culprit(twin, own, sqnr, measured, metrics);

describe('culprit', () => {
  // The middle of four in falling order is the third: 8 dB below it and below 25 dB is what stands out.
  it.each<[string, number[], string | undefined]>([
    ['stands out', [40, 20, 40, 40], 'deep'],
    ['stands out first', [40, 40, 22, 10], 'sum'],
    ['is 8 dB below the middle one, no more', [32, 24, 40, 32], undefined],
    ['is more than 8 dB below the middle one', [32, 23.9, 40, 32], 'deep'],
    ['is good all the same', [60, 25, 60, 60], undefined],
    ['is not quite good enough', [60, 24.9, 60, 60], 'deep'],
    ['has an error like the others', [20, 21, 22, 20], undefined],
    ['is alone', [10], undefined],
  ])('that %s: %j', (_, own, layer) => {
    expect(found(errors(...own))?.layer).toBe(layer);
    if (layer !== undefined) expect(found(errors(...own))?.alone).toBe(true);
  });

  it('is the first of the largest errors where the outputs are bad', () => {
    expect(found(errors(23, 20, 21, 22), 19.9)).toMatchObject({ layer: 'deep', alone: false });
    expect(found(errors(22.9, 20, 21, 22), 19.9)).toMatchObject({ layer: 'conv', alone: false });
    expect(found(errors(23, 20, 21, 22), 20)).toBeUndefined();
    // Nothing is wrong with any.
    expect(found(errors(Infinity, Infinity), -Infinity)).toBeUndefined();
  });

  it('is asked for by accuracy where there is one, whatever the distance', () => {
    const even = errors(20, 20, 20, 20);
    expect(found(even, 30, [top1(2, 1)])?.layer).toBe('conv');
    for (const kept of [top1(1, 1), top1(0.5, 1), top1(50)]) expect(found(even, 5, [kept])).toBeUndefined();
    // One of several is enough; how far the outputs are is none.
    const other = { ...top1(2, 1), name: 'other' };
    expect(culprit(twin, even, 5, [top1(0, 1), other], [...metrics, { name: 'other' }])?.layer).toBe('conv');
    expect(found(even, 30, [{ ...top1(Infinity, 1), name: 'sqnr' }])).toBeUndefined();
    expect(found(even, 5, [{ ...top1(0, 1), name: 'sqnr' }])?.layer).toBe('conv');
  });

  it('is told with what it is, and which part of its error is the larger', () => {
    const at = (i: number, more: Partial<OwnError>) => {
      const own = errors(40, 40, 40, 40);
      own[i] = errorOf(names[i]!, 10, more);
      const { error, ...rest } = found(own)!;
      expect(error).toBe(own[i]);
      return rest;
    };
    const alone = true;
    expect(at(0, { input: 10, weights: 11 })).toEqual({ layer: 'conv', op: 'Conv', part: 'input', weighted: true, alone }); // prettier-ignore
    expect(at(1, { input: 11, weights: 10 })).toEqual({ layer: 'deep', op: 'depthwise Conv', part: 'weights', weighted: true, alone }); // prettier-ignore
    expect(at(2, { input: 10, weights: 10 })).toEqual({ layer: 'sum', op: 'Add', part: 'input', weighted: false, alone }); // prettier-ignore
  });
});

describe('the words', () => {
  const one: Culprit = { layer: 'deep', op: 'depthwise Conv', part: 'input', error: errorOf('deep', 12.34, { input: 13.21, weights: 14.56 }), weighted: true, alone: true }; // prettier-ignore

  it('of decibels are read', () => {
    expect([12.345, -3, 0, Infinity, -Infinity].map(dB)).toEqual(['12.3 dB', '-3.0 dB', '0.0 dB', 'none', '-∞ dB']);
  });

  it('of a sound model name the largest error', () => {
    expect(soundText(errors(40, 31, 35, 31), 33.3)).toMatch(/33\.3 dB.* deep, 31\.0 dB$/);
    expect(soundText(errors(30, 31), 33.3)).toMatch(/ conv, 30\.0 dB$/);
    // Outputs that are no numbers have no distance.
    expect(soundText(errors(30, 31), Infinity)).toMatch(/^no layer stands out: the largest own error is that of conv/);
  });

  it('say where the error enters, and what it is of', () => {
    const all = [errorOf('conv', 50), one.error, errorOf('last', 40)];
    expect(whereText(one, all)).toMatch(/deep \(depthwise Conv, 2 of 3\).* 12\.3 dB, it inherits none; .*input "in of deep", 13\.2 dB$/); // prettier-ignore
    const inheriting = { ...one, part: 'weights' as const, error: { ...one.error, inherited: 17.89 } };
    expect(whereText(inheriting, [inheriting.error])).toMatch(/1 of 1\).* it inherits 17\.9 dB; .*its weights, 14\.6 dB$/); // prettier-ignore
  });

  it('do not say that it begins where more is inherited', () => {
    const late = { ...one, error: { ...one.error, inherited: 8.5 } };
    expect(whereText(late, [late.error])).toMatch(/^the own error that stands out is that of deep .* 12\.3 dB, .*; larger still is what it inherits from the layers before, 8\.5 dB$/); // prettier-ignore
  });

  it('say that no layer stands out where many add up', () => {
    const all = [errorOf('conv', Infinity), one.error, errorOf('last', 19.9)];
    expect(whereText({ ...one, alone: false }, all)).toMatch(/12 to 20 dB .* 3 layers; .* deep \(depthwise Conv, 2 of 3\), 12\.3 dB, most from its input/); // prettier-ignore
    const near = [errorOf('conv', -0.3), errorOf('deep', 0.4)];
    expect(whereText({ ...one, alone: false }, near)).toMatch(/own errors of 0 dB add up/);
  });

  it('say why weights are rounded badly, or that a value is', () => {
    expect(whyText({ ...one, part: 'weights' }, undefined)).toMatch(/^a depthwise layer/);
    expect(whyText({ ...one, part: 'weights', op: 'Conv' }, undefined)).toMatch(/rounding of deep's weights/);
    expect(whyText(one, undefined)).toBe('the rounding of "in of deep"');
  });

  /** Statistics of [samples, channels] as they are collected. */
  const stats = (rows: readonly (readonly number[])[]): ChannelStats => {
    const fold = channelStats({ axis: -1 });
    const dims = [rows.length, rows[0]!.length];
    return fold.finish(fold.add(fold.start(), { dims, data: Float32Array.from(rows.flat()) }));
  };

  it('name a channel that takes the range, in whichever direction', () => {
    const wide = (value: number) => whyText(one, stats([[1, 2, -3, value], [-1, 1, 2, 0]])); // prettier-ignore
    // The peaks are 1, 2, 3 and the value's: the third of them is the middle one.
    expect(wide(24.5)).toMatch(/^channel 3 of "in of deep" reaches 24\.5, the middle one of its 4 channels 3:.* 8\.17 times fewer/); // prettier-ignore
    expect(wide(-24.5)).toMatch(/^channel 3 .* reaches 24\.5/);
    expect(wide(24)).not.toMatch(/^channel/);
  });

  it('name an outlier of a channel like the others, by its deviations', () => {
    // 3 channels of 1 000 values of ±1, and in each one value: the root mean square is a little over 1.
    const far = (value: number) => {
      const rows = Array.from({ length: 1000 }, (_, i) => (i === 7 ? [value, value, value] : [1, -1, 1]));
      const rms = Math.sqrt((value ** 2 + 999) / 1000);
      return { text: whyText(one, stats(rows)), times: value / rms };
    };
    const outlier = far(100);
    expect(outlier.times).toBeLessThan(31);
    expect(outlier.text).toMatch(
      new RegExp(`^"in of deep" reaches 100, ${outlier.times.toFixed(1)}.* standard deviations`),
    );
    // Just below 30 deviations, and well below.
    for (const value of [80, 5]) expect(far(value).text).toMatch(/ lie evenly$/);
    expect(far(80).times).toBeGreaterThan(28);
  });
});
