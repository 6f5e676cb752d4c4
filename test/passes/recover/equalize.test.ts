import { equalize } from '../../../src/passes/recover/equalize.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import type { NodeProto, TensorProto } from '../../../src/graph/proto.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData, makeTensor } from '../../../src/graph/tensor.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

const images = (seed: number): Feeds => ({ x: floats(noise(seed, 16 * 3 * 64), [16, 3, 8, 8]) });

const scalar = (name: string, value: number): TensorProto => makeTensor(name, 'float32', [], Float32Array.of(value));

const spread = (channel: number): number => 30 ** (((channel * 7) % 11) / 10 - 0.5);

/** Weights whose output rows differ in size by up to 30 times: what narrow nets have after folding. */
function uneven(name: string, dims: readonly number[], seed: number): TensorProto {
  const tensor = weight(name, dims, seed, 0.5);
  const inner = dims.slice(1).reduce((a, b) => a * b, 1);
  return makeTensor(
    name,
    'float32',
    dims,
    floatData(tensor).map((w, i) => w * spread(Math.floor(i / inner))),
  );
}

/** Conv 3→8, what is given between, then what reads it. */
function net(
  between: (x: string) => NodeProto,
  reader: 'depthwise' | 'dense' | 'gemm',
  more: TensorProto[] = [],
): Model {
  const tail: { nodes: NodeProto[]; tensors: TensorProto[] } =
    reader === 'gemm'
      ? {
          nodes: [
            makeNode('Flatten', ['b'], ['f'], { axis: 1 }),
            makeNode('Gemm', ['f', 'w2', 'b2'], ['y'], { transB: 1, alpha: { float: 0.5 } }, { name: 'second' }),
          ],
          tensors: [weight('w2', [5, 8 * 64], 3), weight('b2', [5], 4)],
        }
      : {
          nodes: [
            makeNode(
              'Conv',
              ['b', 'w2', 'b2'],
              ['y'],
              { pads: [1, 1, 1, 1], ...(reader === 'depthwise' ? { group: 8 } : {}) },
              { name: 'second' },
            ),
          ],
          tensors: [weight('w2', [8, reader === 'depthwise' ? 1 : 8, 3, 3], 3), weight('b2', [8], 4)],
        };
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('y', 'float32')],
    initializers: [uneven('w1', [8, 3, 3, 3], 1), weight('b1', [8], 2, 0.2), ...more, ...tail.tensors],
    nodes: [
      makeNode('Conv', ['x', 'w1', 'b1'], ['a'], { pads: [1, 1, 1, 1] }, { name: 'first' }),
      between('a'),
      ...tail.nodes,
    ],
  });
}

const relu = (x: string) => makeNode('Relu', [x], ['b']);
const clip = (max: number) => ({
  node: (x: string) => makeNode('Clip', [x, 'low', 'high'], ['b'], {}, { name: 'clip' }),
  tensors: [scalar('low', 0), scalar('high', max)],
});

async function equalized(model: Model, options: object = {}) {
  const result = await equalize.apply(
    model,
    equalize.options.parse(options),
    testContext({ calibration: [images(5), images(6)], reference: model }),
  );
  return result;
}

/** Largest difference, in units of the largest output. */
async function difference(a: Model, b: Model, feeds: Feeds): Promise<number> {
  const [x, y] = [(await runModel(a, feeds)).y?.data, (await runModel(b, feeds)).y?.data] as [
    Float32Array,
    Float32Array,
  ];
  const largest = x.reduce((m, v) => Math.max(m, Math.abs(v)), 0);
  return x.reduce((m, v, i) => Math.max(m, Math.abs(v - (y[i] as number))), 0) / largest;
}

const changes = (a: Model, b: Model, name: string): boolean =>
  floatData(initializers(a.graph).get(name) as TensorProto).some(
    (w, i) => Math.abs(w / (floatData(initializers(b.graph).get(name) as TensorProto)[i] as number) - 1) > 0.01,
  );

describe('recover/equalize', () => {
  const cases = {
    'Relu, depthwise': net(relu, 'depthwise'),
    'Relu, dense': net(relu, 'dense'),
    'LeakyRelu, dense': net((x) => makeNode('LeakyRelu', [x], ['b'], { alpha: { float: 0.2 } }), 'dense'),
    'PRelu, depthwise': net((x) => makeNode('PRelu', [x, 'slope'], ['b']), 'depthwise', [
      weight('slope', [8, 1, 1], 9),
    ]),
    'MaxPool, dense': net((x) => makeNode('MaxPool', [x], ['b'], { kernel_shape: [2, 2] }), 'dense'),
    'Relu, Flatten, Gemm': net(relu, 'gemm'),
  };
  for (const method of ['noise', 'range'])
    it.each(Object.keys(cases))(`keeps the function through %s (${method})`, async (name) => {
      const model = cases[name as keyof typeof cases];
      const { model: after, changed } = await equalized(model, { method });
      expect(changed.map((note) => note.layer)).toEqual(['first']);
      expect(changes(model, after, 'w1')).toBe(true);
      // float32 products of factors that are no powers of two round once a weight and once an output.
      expect(await difference(model, after, images(7))).toBeLessThan(1e-5);
    });

  it('gives both weights the same range in each channel, with method range', async () => {
    const { model } = await equalized(cases['Relu, dense'], { method: 'range' });
    const tensors = initializers(model.graph);
    const [w1, w2] = [tensors.get('w1'), tensors.get('w2')].map((t) => floatData(t as TensorProto)) as [
      Float32Array,
      Float32Array,
    ];
    for (let c = 0; c < 8; c++) {
      const made = Math.max(...w1.subarray(c * 27, (c + 1) * 27).map(Math.abs));
      const read = Math.max(...w2.filter((_, i) => Math.floor(i / 9) % 8 === c).map(Math.abs));
      expect(made / read).toBeCloseTo(1, 3);
    }
  });

  it('holds channels that reach the bound of a Clip, and lets the others not reach it', async () => {
    const bound = clip(3);
    const model = net(bound.node, 'dense', bound.tensors);
    const { model: after, changed } = await equalized(model);
    expect(after.graph.node.map((n) => n.op_type)).toContain('Clip');
    expect(changes(model, after, 'w1')).toBe(true);
    // The function is kept for inputs like those calibrated on: headroom keeps their channels below the bound.
    expect(await difference(model, after, images(5))).toBeLessThan(1e-5);
    expect(changed[0]?.text).not.toContain('Relu');
  });

  it('makes a Clip that no channel reaches a Relu', async () => {
    const bound = clip(1e4);
    const model = net(bound.node, 'depthwise', bound.tensors);
    const { model: after, changed } = await equalized(model);
    expect(after.graph.node.map((n) => n.op_type)).toEqual(['Conv', 'Relu', 'Conv']);
    expect(changed[0]?.text).toContain('now Relu');
    expect(await difference(model, after, images(7))).toBeLessThan(1e-5);
  });

  it('brings an int8 model with uneven channels closer to float', async () => {
    const plain = cases['Relu, Flatten, Gemm'];
    // What is small in the first layer is large in the second: all channels matter alike.
    const model = edit(plain, (draft) => {
      const w = floatData(initializers(plain.graph).get('w2') as TensorProto);
      const dims = [5, 8 * 64];
      draft.replace(
        'w2',
        makeTensor(
          'w2',
          'float32',
          dims,
          w.map((v, i) => v / spread(Math.floor(i / 64) % 8)),
        ),
      );
    });
    const { model: after } = await equalized(model);
    // Seven bits: eight saturate where a processor has no VNNI.
    const options = staticQuantizer.options.parse({ bits_weights: 7 });
    const quality = async (given: Model): Promise<number> => {
      const context = testContext({ calibration: [images(5), images(6)], reference: given });
      const { model: int8 } = await staticQuantizer.apply(given, options, context);
      const [x, y] = [(await runModel(model, images(7))).y, (await runModel(int8, images(7))).y];
      return snr(x?.data as Float32Array, y?.data as Float32Array);
    };
    // A spread of 30 costs up to log2(30) ≈ 5 bits, 6 dB each; a good part of it comes back.
    expect(await quality(after)).toBeGreaterThan((await quality(model)) + 10);
  });

  it('leaves alone what it cannot scale, with the reason', async () => {
    const { skipped } = await equalized(net((x) => makeNode('Sigmoid', [x], ['b'], {}, { name: 'sig' }), 'dense'));
    expect(skipped).toEqual([
      { layer: 'first', text: 'Sigmoid "sig" does not pass factors on' },
      { layer: 'second', text: '"y" is an output of the model' },
    ]);
  });
});
