import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { passes } from '../../../src/passes/index.ts';
import type { Pass, PassResult } from '../../../src/passes/pass.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';

const [T, N, I, H] = [5, 3, 12, 8];
const gatesOf = { LSTM: 4, GRU: 3, RNN: 1 };

interface Kind {
  readonly directions?: number;
  /** Lengths, states and peepholes are given. */
  readonly full?: boolean;
  readonly attributes?: object;
}
function model(op: keyof typeof gatesOf, { directions: D = 1, full = false, attributes = {} }: Kind = {}): Model {
  const gates = gatesOf[op] * H;
  const more = full ? ['lengths', 'h', 'c', 'p'] : [];
  return makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', [T, N, I])],
    outputs: ['y', 'yh'].map((name) => makeValue(name, 'float32')),
    initializers: [
      weight('w', [D, gates, I], 1),
      weight('r', [D, gates, H], 2),
      weight('b', [D, 2 * gates], 3, 0.1),
      ...(full
        ? [
            makeTensor('lengths', 'int32', [N], Int32Array.of(5, 2, 4)),
            ...[weight('h', [D, N, H], 4), weight('c', [D, N, H], 5), weight('p', [D, 3 * H], 6)],
          ]
        : []),
    ],
    nodes: [
      makeNode(
        op,
        ['x', 'w', 'r', 'b', ...more],
        ['y', 'yh'],
        {
          hidden_size: H,
          ...(D === 2 ? { direction: 'bidirectional' } : {}),
          ...attributes,
        },
        { name: 'layer' },
      ),
    ],
  });
}
const feeds = { x: floats(noise(7, T * N * I), [T, N, I]) };

async function quantized(name: string, before: Model, options: object): Promise<PassResult> {
  const pass = passes.find((one) => one.name === name) as Pass;
  return pass.apply(before, pass.options.parse(options), testContext({ calibration: [feeds], reference: before }));
}

/** The model with its weights rounded here: to the nearest of 2·most + 1 steps, one step a row or one for all. */
function rounded(before: Model, most: number, perRow: boolean): Model {
  const changed = new Map(
    ['w', 'r'].map((name, i) => {
      const { dims } = before.graph.initializer.find((t) => t.name === name)!;
      const [d, g, k] = dims.map((v) => (v as { low: number }).low) as [number, number, number];
      const data = noise(i + 1, d * g * k, 0.3);
      const all = Math.max(...data.map(Math.abs));
      const values = Float32Array.from(data, (v, at) => {
        const row = Math.floor(at / k) * k;
        const largest = perRow ? Math.max(...data.slice(row, row + k).map(Math.abs)) : all;
        return Math.round(v / (largest / most)) * (largest / most);
      });
      return [name, makeTensor(name, 'float32', [d, g, k], values)] as const;
    }),
  );
  const { graph } = before;
  return makeModel({
    ...{ opset: 17, ir: 8, inputs: graph.input, outputs: graph.output, nodes: graph.node },
    initializers: graph.initializer.map((tensor) => changed.get(tensor.name) ?? tensor),
  });
}

async function farthest(one: Model, other: Model): Promise<number> {
  let most = 0;
  for (const level of ['disabled', 'all'] as const) {
    const [a, b] = [await runModel(one, feeds, level), await runModel(other, feeds, level)];
    for (const name of ['y', 'yh'])
      (a[name]?.data as Float32Array).forEach(
        (v, i) => (most = Math.max(most, Math.abs(v - (b[name]?.data[i] as number)))),
      );
  }
  return most;
}

const quantizers = ['quantize/dynamic', 'quantize/static'];

describe.each(quantizers)('recurrent layers in %s', (name) => {
  it.each<[keyof typeof gatesOf, Kind]>([
    ['LSTM', {}],
    ['LSTM', { directions: 2, full: true }],
    ['GRU', { attributes: { linear_before_reset: 1 } }],
    ['RNN', { directions: 2 }],
  ])('%s %j decodes its weights at load', async (op, kind) => {
    const before = model(op, kind);
    for (const [bits_weights, most] of [
      [8, 127],
      [4, 7],
    ] as const) {
      // prettier-ignore
      const { model: after, changed, skipped } = await quantized(name, before, { bits_weights });
      expect(after.graph.node.some((node) => node.op_type === op)).toBe(true);
      expect(changed.filter(({ text }) => /float weights at load time/.test(text))).toHaveLength(2);
      expect(skipped).toEqual([]);
      // Scales are stored in 16 bits: 2⁻¹¹ of each weight, in sums of 20 products.
      expect(await farthest(after, rounded(before, most, true))).toBeLessThan(2e-3);
      // What is compared is not the float model: the roundings show.
      expect(await farthest(before, rounded(before, most, true))).toBeGreaterThan(bits_weights === 8 ? 5e-4 : 1e-2);
    }
  });

  it.each<[Kind, boolean]>([
    [{}, true],
    [{}, false],
    [{ directions: 2, full: true }, true],
    [{ directions: 2, full: true }, false],
    [{ attributes: { clip: { float: 0.5 }, input_forget: 1 } }, true],
  ])('an LSTM %j becomes DynamicQuantizeLSTM, one scale a channel: %s', async (kind, per_channel) => {
    const before = model('LSTM', kind);
    const { model: after, changed } = await quantized(name, before, { recurrent: 'packed', per_channel });
    expect(after.graph.node.map((node) => node.op_type)).toEqual(['DynamicQuantizeLSTM']);
    expect(changed).toEqual([
      { layer: 'layer', text: expect.stringMatching(/activations uint8 at run time; DynamicQuantizeLSTM/) as unknown },
    ]);
    // Inputs and states in 255 steps of at most 4: half of one in sums of 20 products of 0.3, through five steps. A weight in
    // another place gives 0.3 and more.
    expect(await farthest(after, rounded(before, 127, per_channel))).toBeLessThan(0.03);
  });

  it.each<[keyof typeof gatesOf, object, RegExp]>([
    ['GRU', {}, /onnxruntime has no quantized GRU/],
    ['RNN', {}, /onnxruntime has no quantized RNN/],
  ])('packed says why a %s is not', async (op, attributes, why) => {
    const before = model(op, { attributes });
    const { model: after, changed } = await quantized(name, before, { recurrent: 'packed' });
    for (const { text } of changed) expect(text).toMatch(why);
    expect(await farthest(after, rounded(before, 127, true))).toBeLessThan(2e-3);
  });

  it('are left in float on request, with a reason', async () => {
    const { changed, skipped } = await quantized(name, model('LSTM'), { recurrent: 'float' });
    expect(changed).toEqual([]);
    expect(skipped.length).toBeGreaterThan(0);
    const overrides = { layer: { bits_weights: 'float' } };
    const byHand = await quantized(name, model('LSTM'), { overrides });
    expect(byHand.changed).toEqual([]);
    expect(byHand.skipped.length).toBeGreaterThan(0);
  });
});
