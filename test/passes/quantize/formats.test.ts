import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { NumberFormat } from '../../../src/numerics/format.ts';
import { bits, layerFormats, overrideSelectors, resolveOverrides, type LayerOptions } from '../../../src/passes/quantize/formats.ts'; // prettier-ignore
import { weight } from '../../helpers/models.ts';

const model = makeModel({
  opset: 13,
  inputs: [makeValue('x', 'float32', ['N', 4])],
  outputs: [makeValue('y', 'float32')],
  initializers: [weight('w1', [4, 4], 1), weight('w2', [4, 4], 2), weight('w3', [4, 4], 3)],
  nodes: [
    makeNode('MatMul', ['x', 'w1'], ['a'], {}, { name: 'first' }),
    makeNode('Gemm', ['a', 'w2'], ['b'], {}, { name: 'second' }),
    makeNode('MatMul', ['b', 'w3'], ['y'], {}, { name: 'third' }),
  ],
});
const named = (name: string) => model.graph.node.find((node) => node.name === name)!;

it.each<[unknown, number | null | undefined]>([
  [2, 2],
  [8, 8],
  [16, 16],
  ['float', null],
  [32, null],
  [null, null],
  ...[1, 9, 15, 17, 3.5, 'int8', true].map((wrong): [unknown, undefined] => [wrong, undefined]),
])('a width of %j is %s', (given, width) => {
  expect(bits.safeParse(given).data).toBe(width);
});

describe('resolveOverrides', () => {
  it('takes the first pattern that names the layer, its weight or its operator', () => {
    const entries = { 'op:Gemm': { bits_weights: 4 }, w3: { bits_weights: 3 }, '*': { bits_weights: 2 } };
    const override = resolveOverrides(entries, model);
    expect(['first', 'second', 'third'].map((name) => override(named(name))?.bits_weights)).toEqual([2, 4, 3]);
    expect(resolveOverrides({ third: {} }, model)(named('first'))).toBeUndefined();
  });

  it('are checked against the model where they stand', () => {
    expect(overrideSelectors({ overrides: { 'conv*': {}, fc: {} } })).toEqual([
      { pattern: 'conv*', path: ['overrides', 'conv*'], over: 'layers' },
      { pattern: 'fc', path: ['overrides', 'fc'], over: 'layers' },
    ]);
  });
});

describe('layerFormats: the schedule before the plan before the pass', () => {
  const int = (width: number): NumberFormat => ({ kind: 'int', bits: width, signed: true, symmetric: true, narrow: true }); // prettier-ignore
  const float = { kind: 'float', bits: 32 } as const;
  const coded = { kind: 'coded', bits: 3, step: 0.1 } as const;
  const text = (format: NumberFormat | undefined): string =>
    format === undefined || !('bits' in format)
      ? 'float'
      : `${'signed' in format && format.signed ? '' : 'u'}${format.kind}${format.bits}`;
  const defaults = { bits_weights: 8, bits_activations: 8, per_channel: true, weights_symmetric: true };

  it.each<
    [
      string,
      LayerOptions | undefined,
      { weights?: NumberFormat; activations?: NumberFormat } | undefined,
      object,
      string,
    ]
  >([
    ['nothing said', undefined, undefined, {}, 'int8 × uint8, true'],
    ['the pass in float', undefined, undefined, { bits_weights: null, bits_activations: null }, 'float × float, true'],
    ['one scale', undefined, undefined, { per_channel: false }, 'int8 × uint8, false'],
    ['a plan', undefined, { weights: int(4), activations: { ...int(6), signed: false } as NumberFormat }, {}, 'int4 × uint6, true'], // prettier-ignore
    ['a plan of float', undefined, { weights: float }, {}, 'float × uint8, true'],
    ['a coded plan', undefined, { weights: coded }, {}, 'ucoded3 × uint8, true'],
    ['a plan of activations', undefined, { activations: { ...int(16), signed: false } as NumberFormat }, {}, 'int8 × uint16, true'], // prettier-ignore
    ['an override of weights', { bits_weights: 3 }, { weights: int(4) }, {}, 'int3 × uint8, true'],
    ['an override to float', { bits_weights: null, bits_activations: null }, { weights: int(4) }, {}, 'float × float, true'], // prettier-ignore
    ['an override of activations', { bits_activations: 7 }, { weights: int(4) }, {}, 'int4 × uint7, true'],
    ['an override of scales', { per_channel: false }, undefined, {}, 'int8 × uint8, false'],
    ['with zero points', undefined, undefined, { weights_symmetric: false }, 'uint8 × uint8, true'],
  ])('%s', (_, own, planned, given, wanted) => {
    const plan = new Map(planned ? [['first', planned]] : []);
    const { weights, activations, perChannel } = layerFormats(named('first'), { ...defaults, ...given }, plan, () => own); // prettier-ignore
    expect(`${text(weights)} × ${text(activations)}, ${perChannel}`).toBe(wanted);
  });
});
