import type { Dataset } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { sqnr } from '../../src/metrics/sqnr.ts';
import { quantizeSensitivity } from '../../src/run/quantize_sensitivity.ts';
import { floats } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';
import { never } from './support.ts';

const [rows, inputs, outputs] = [64, 16, 4];
const x = noise(1, rows * inputs);
const w = noise(2, inputs * outputs);
/** y = x · w. */
const model = makeModel({
  opset: 13,
  ir: 8,
  inputs: [makeValue('x', 'float32', ['N', inputs])],
  outputs: [makeValue('y', 'float32', ['N', outputs])],
  initializers: [makeTensor('w', 'float32', [inputs, outputs], w)],
  nodes: [makeNode('MatMul', ['x', 'w'], ['y'], {}, { name: 'product' })],
});
const set: Dataset = {
  info: { kind: 'npy', source: 'rows', samples: rows, labelled: false, notes: [] },
  async *samples(limit = rows) {
    for (let i = 0; i < Math.min(rows, limit); i++)
      yield { id: String(i), feeds: { x: floats(x.slice(i * inputs, (i + 1) * inputs), [1, inputs]) } };
  },
};

const product = (a: Float32Array, b: Float32Array): number[] =>
  Array.from({ length: rows * outputs }, (_, i) => {
    let sum = 0;
    for (let k = 0; k < inputs; k++) sum += a[Math.floor(i / outputs) * inputs + k]! * b[k * outputs + (i % outputs)]!;
    return sum;
  });
const decibels = (changed: number[]): number => {
  const float = product(x, w);
  const noise = float.reduce((sum, y, i) => sum + (y - changed[i]!) ** 2, 0);
  return 10 * Math.log10(float.reduce((sum, y) => sum + y * y, 0) / noise);
};
const clamp = (v: number, low: number, high: number): number => Math.min(high, Math.max(low, v));

/** x in so many bits over its own range, as the ONNX standard has it. */
function activations(bits: number): Float32Array {
  const [low, high] = [Math.min(0, ...x), Math.max(0, ...x)];
  const most = 2 ** bits - 1;
  const scale = (high - low) / most;
  const zero = Math.round(-low / scale);
  return x.map((v) => (clamp(Math.round(v / scale) + zero, 0, most) - zero) * scale);
}

/** The column of w in so many bits at the scale of least squared error, of ten thousand. */
function column(c: number, bits: number): number[] {
  const values = Array.from({ length: inputs }, (_, k) => w[k * outputs + c]!);
  const most = 2 ** (bits - 1) - 1;
  const largest = Math.max(...values.map(Math.abs));
  const at = (scale: number) => values.map((v) => clamp(Math.round(v / scale), -most, most) * scale);
  const loss = (found: number[]) => found.reduce((sum, v, k) => sum + (v - values[k]!) ** 2, 0);
  let best = at(largest / most);
  for (let i = 2000; i < 10000; i++) {
    const found = at((largest / most) * (i / 10000));
    if (loss(found) < loss(best)) best = found;
  }
  return best;
}

describe('quantizeSensitivity', () => {
  it('gives what the arithmetic of the standard gives, a tensor and a width at a time', async () => {
    const data = { calibration: set, validation: set, notes: [] };
    const report = await quantizeSensitivity({
      ...{ model, data: data as never, metrics: [sqnr()], layers: ['*'], widths: [8, 4], signal: never },
      ...{ batchSize: 16, threads: undefined, log: () => undefined },
    });
    const found = Object.fromEntries(
      report.tensors.map(({ name, points }) => [name, points.map(({ value }) => value)]),
    );
    expect(Object.keys(found)).toEqual(['product', 'x']);
    for (const [i, bits] of [8, 4].entries()) {
      // Ties of float32 against those of float64 move single codes.
      expect(Math.abs(found['x']![i]! - decibels(product(activations(bits), w)))).toBeLessThan(0.1);
      const columns = Array.from({ length: outputs }, (_, c) => column(c, bits));
      const rounded = Float32Array.from(w, (_, i) => columns[i % outputs]![Math.floor(i / outputs)]!);
      // The search for a scale is coarser than this one: within half a decibel of the best for the weights.
      expect(Math.abs(found['product']![i]! - decibels(product(x, rounded)))).toBeLessThan(bits === 8 ? 1 : 0.5);
    }
  });
});
