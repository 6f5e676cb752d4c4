import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { formatQuantizer } from '../../../src/passes/quantize/to_format.ts';
import { weightsOnlyQuantizer } from '../../../src/passes/quantize/weights_only.ts';
import type { Pass } from '../../../src/passes/pass.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

/** x [N, 96] → MatMul → y [N, 24]. */
const [K, outputs] = [96, 24];
const model = makeModel({
  opset: 13,
  ir: 8,
  inputs: [makeValue('x', 'float32', ['N', K])],
  outputs: [makeValue('y', 'float32', ['N', outputs])],
  initializers: [weight('w', [K, outputs], 1)],
  nodes: [makeNode('MatMul', ['x', 'w'], ['y'], {}, { name: 'mm' })],
});
/** Inputs that have nothing in common. */
const independent = (seed: number, rows: number): Float32Array => noise(seed, rows * K);
/** Inputs that are mixtures of three. */
const together = (seed: number, rows: number): Float32Array => {
  const [parts, mix, grain] = [noise(seed, rows * 3), noise(3, 3 * K), noise(seed + 1, rows * K, 0.1)];
  return grain.map((g, i) => {
    const [row, column] = [Math.floor(i / K), i % K];
    return g + [0, 1, 2].reduce((sum, p) => sum + parts[row * 3 + p]! * mix[p * K + column]!, 0);
  });
};

/** dB on inputs that took no part, and what is said. */
async function made(pass: Pass, options: object, data: typeof together, rows: number, batch = rows, seed = 10) {
  const all = data(seed, rows);
  const calibration = Array.from({ length: rows / batch }, (_, b) => ({
    x: floats(all.slice(b * batch * K, (b + 1) * batch * K), [batch, K]),
  }));
  const context = testContext({ calibration, reference: model });
  const result = await pass.apply(model, pass.options.parse(options), context);
  const unseen = { x: floats(data(20, 500), [500, K]) };
  const run = async (m: Model) => (await runModel(m, unseen, 'disabled'))['y']!.data as Float32Array;
  return { quality: snr(await run(model), await run(result.model)), text: result.changed[0]!.text };
}

const gptq = { bits_weights: 4, method: 'gptq' };
const passes: [string, Pass, object, object][] = [
  ['WeightOnlyQuantizer', weightsOnlyQuantizer, gptq, { ...gptq, method: 'mse' }],
  ...['gptq', 'descent'].map((rounding): [string, Pass, object, object] => [
    `FormatQuantizer, ${rounding}`,
    formatQuantizer as Pass<never> as Pass,
    { format: 'int4', rounding },
    { format: 'int4' },
  ]),
];

describe.each(passes)('rounding by few inputs, %s', (_, pass, options, plain) => {
  it('gives way to the nearest where inputs that were held out are worse off by it, and says so', async () => {
    const nearest = await made(pass, plain, independent, 60);
    for (const batch of [60, 1]) {
      const { quality, text } = await made(pass, options, independent, 60, batch);
      expect(text).toMatch(/it saw 60 inputs, an output has 96 weights, and .* \d+\.\d dB more error on the others/);
      expect(quality).toBe(nearest.quality);
    }
  });

  it('stays where they are better off', async () => {
    const nearest = await made(pass, plain, together, 60);
    const { quality, text } = await made(pass, options, together, 60);
    expect(text).not.toContain('it saw');
    expect(quality).toBeGreaterThan(nearest.quality + 3);
  });

  it('does not take the word of one or two inputs for a small difference, but for a large one', async () => {
    const nearest = await made(pass, plain, independent, 60);
    // Among these are, for each of the passes, some whose one or two held-out inputs are a little better off by chance.
    for (let seed = 20; seed < 28; seed++)
      for (const rows of [2, 4])
        expect((await made(pass, options, independent, rows, rows, seed)).quality).toBe(nearest.quality);
    expect((await made(pass, options, together, 6)).quality).toBeGreaterThan(nearest.quality + 10);
  });

  it('is not looked into where inputs are many, or one', async () => {
    for (const rows of [200, 1]) expect((await made(pass, options, independent, rows)).text).not.toContain('it saw');
  });
});
