import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import { layers } from '../../../src/graph/layer.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { formatCodes } from '../../../src/numerics/formats/apply.ts';
import { gridOf } from '../../../src/numerics/formats/apply.ts';
import type { Sharing } from '../../../src/numerics/formats/format.ts';
import { formats } from '../../../src/numerics/formats/index.ts';
import { writtenFormat } from '../../../src/numerics/formats/written.ts';
import { nextFloat32, roundTo } from '../../../src/numerics/grid.ts';
import { weightRows } from '../../../src/passes/quantize/format_weights.ts';
import { addRounding } from '../../../src/passes/quantize/rounded_value.ts';
import { storeFormat } from '../../../src/passes/quantize/stored_format.ts';
import { given } from '../../../src/util/must.ts';
import { floats, runModel } from '../../helpers/context.ts';
import { fill, gaussian } from '../../numerics/samples.ts';

const optimizations = ['disabled', 'all'] as const;
const names = (place: 'notWeights' | 'notActivations'): string[] =>
  formats.map(({ name }) => name).filter((name) => writtenFormat.parse(name)[place] === undefined);

describe('a stored weight', () => {
  const kinds: Readonly<Record<string, readonly [string, number[], Record<string, number>?]>> = {
    Conv: ['Conv', [6, 3, 3, 2]],
    'grouped Conv': ['Conv', [6, 2, 3, 3], { group: 2 }],
    'grouped ConvTranspose': ['ConvTranspose', [4, 3, 2, 2], { group: 2 }],
    Gemm: ['Gemm', [70, 5]],
    'Gemm transB': ['Gemm', [5, 70], { transB: 1 }],
    MatMul: ['MatMul', [35, 4]],
  };
  const sharings: readonly (Sharing | undefined)[] = [undefined, 'tensor', 'channel', 'row', 'pixel', { group: 8 }];

  it.each(names('notWeights'))('in %s is decoded to what was computed, bit for bit', async (name) => {
    for (const [kind, [op, dims, attributes]] of Object.entries(kinds)) {
      const data = fill(
        dims.reduce((a, b) => a * b, 1),
        gaussian(7),
      );
      const weight = makeTensor('w', 'float32', dims, data);
      const io = { inputs: [makeValue('x', 'float32')], outputs: [makeValue('y', 'float32')] };
      const model = makeModel({ ...io, nodes: [makeNode(op, ['x', 'w'], ['y'], attributes)], initializers: [weight] });
      const layer = given(layers(model).layers[0], 'a layer');
      const shared = sharings.map((sharing) => formatCodes(writtenFormat.parse(name), weightRows(layer), { sharing }));
      const stored = edit(
        makeModel({ ...io, nodes: [makeNode('Identity', ['x'], ['y'])], initializers: [] }),
        (draft) => {
          for (const [i, codes] of shared.entries()) {
            draft.addNode(makeNode('Identity', [storeFormat(draft, `w${i}`, layer.weight, codes)], [`d${i}`]));
            draft.addOutput(makeValue(`d${i}`, 'float32'));
          }
        },
      );
      for (const level of optimizations) {
        const decoded = await runModel(stored, { x: floats(Float32Array.of(0), [1]) }, level);
        for (const [i, codes] of shared.entries())
          expect([kind, sharings[i], decoded[`d${i}`]?.data]).toEqual([
            kind,
            sharings[i],
            layer.weight.fromRows(codes.values),
          ]);
      }
    }
  });
});

describe('a rounded value', () => {
  const specials = [
    NaN,
    Infinity,
    -Infinity,
    0,
    -0,
    2 ** -149,
    -(2 ** -149),
    2 ** -126,
    3.4028234663852886e38,
    -3.4028234663852886e38,
    1,
    -1,
    0.5,
  ];

  it.each(names('notActivations'))('in %s is the number that was computed, bit for bit', async (name) => {
    for (const signed of [true, false]) {
      const seen = fill(4096, gaussian(3)).map((v) => (signed ? v : Math.abs(v)));
      const largest = seen.reduce((most, v) => Math.max(most, Math.abs(v)), 0);
      const grid = gridOf(writtenFormat.parse(name).fit(seen, { signed, largest }));
      const borders = Array.from(grid.thresholds).slice(0, 600);
      const near = borders.flatMap((t) => [t, nextFloat32(t), -nextFloat32(-t)]);
      const values = Float32Array.of(...fill(10_000, gaussian(5)), ...specials, ...near, ...grid.levels.slice(0, 600));
      const model = makeModel({
        inputs: [makeValue('x', 'float32', ['n', 1])],
        outputs: [makeValue('y', 'float32')],
        nodes: [makeNode('Identity', ['x'], ['y'])],
        initializers: [],
        opset: 13,
      });
      const rounding = edit(model, (draft) => {
        draft.addNode(makeNode('Identity', [addRounding(draft, 'x', grid)], ['z']));
        draft.addOutput(makeValue('z', 'float32'));
      });
      const expected = values.map((v) => roundTo(grid, v));
      for (const level of optimizations) {
        const { z } = await runModel(rounding, { x: floats(values, [values.length, 1]) }, level);
        expect(z).toEqual({ type: 'float32', dims: [values.length, 1], data: expected });
      }
    }
  });
});
