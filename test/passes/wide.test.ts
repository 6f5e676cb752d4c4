import type { Feeds } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { initializers } from '../../src/graph/query.ts';
import { sensitivityAllocator } from '../../src/passes/allocate/sensitivity.ts';
import { globalPruner } from '../../src/passes/prune/global.ts';
import { sparseGptPruner } from '../../src/passes/prune/sparsegpt.ts';
import { channelPruner } from '../../src/passes/prune/structure/channel_pruner.ts';
import { wandaPruner } from '../../src/passes/prune/wanda.ts';
import { anyPass, type PassContext } from '../../src/passes/pass.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { weightsOnlyQuantizer } from '../../src/passes/quantize/weights_only.ts';
import { adaround } from '../../src/passes/recover/adaround.ts';
import { biasCorrection } from '../../src/passes/recover/bias_correction.ts';
import { gptqRounding } from '../../src/passes/recover/gptq.ts';
import { weightScale } from '../../src/passes/recover/weight_scale.ts';
import { floats, runModel, testContext } from '../helpers/context.ts';
import { noise, weight } from '../helpers/models.ts';
import { snr } from '../helpers/quality.ts';

/** x [N, 8] → Gemm "spread" → Relu → Gemm "wide" of so many inputs → y [N, 4]. */
const net = (size: number): Model =>
  makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 8])],
    outputs: [makeValue('y', 'float32', ['N', 4])],
    initializers: [weight('w1', [8, size], 1), weight('w2', [size, 4], 2), weight('b2', [4], 3)],
    nodes: [
      makeNode('Gemm', ['x', 'w1'], ['h'], {}, { name: 'spread' }),
      makeNode('Relu', ['h'], ['r'], {}, { name: 'relu' }),
      makeNode('Gemm', ['r', 'w2', 'b2'], ['y'], {}, { name: 'wide' }),
    ],
  });
const feeds: Feeds = { x: floats(noise(4, 64), [8, 8]) };
const context = (more: Partial<PassContext> = {}): PassContext => testContext({ calibration: [feeds], ...more });

// 11,600² doubles are 1.003 GiB.
const reason = 'the second moments of 11600 inputs an output would take 1.0 GiB, more than the 1 GiB that a layer may';

describe('a layer whose second moments are too large', () => {
  const model = net(11_600);

  it('is rounded without them, and the report says why', async () => {
    const options = (method: string): object => ({ bits_weights: 4, block_size: 32, method });
    const by = (method: string) =>
      weightsOnlyQuantizer.apply(model, weightsOnlyQuantizer.options.parse(options(method)), context());
    const [gptq, mse] = await Promise.all([by('gptq'), by('mse')]);
    const said = gptq.changed.map(({ layer, text }) => [layer, text.split(', one scale')[0]]);
    expect(said).toContainEqual(['wide', `weights int4 (mse: ${reason})`]);
    // Few inputs are another reason for nearest, and none for the other layer.
    expect(said.find(([layer]) => layer === 'spread')?.[1]).not.toContain(reason);
    const codes = (result: Model) =>
      [...initializers(result.graph).values()].filter(({ name }) => name.startsWith('w2')).map((t) => t.raw_data);
    expect(codes(gptq.model)).toEqual(codes(mse.model));
  });

  const after = [anyPass(adaround), anyPass(gptqRounding), anyPass(weightScale), anyPass(biasCorrection)];
  it.each(after.map((pass) => [pass.name, pass] as const))(
    'is left as the quantizer made it by %s, if it needs them',
    async (_, pass) => {
      const options = staticQuantizer.options.parse({ bits_weights: 7 });
      const quantized = await staticQuantizer.apply(model, options, context({ reference: model }));
      const ctx = context({ reference: model, twin: quantized.twin });
      const { model: result, changed, skipped } = await pass.apply(quantized.model, pass.options.parse({}), ctx);
      if (pass.name === 'recover/bias_correction') expect(changed.map(({ layer }) => layer)).toContain('wide');
      else expect(skipped).toContainEqual({ layer: 'wide', text: `left as the quantizer made it: ${reason}` });
      const float = (await runModel(model, feeds)).y!.data as Float32Array;
      // Eight bits of a sum of many.
      expect(snr(float, (await runModel(result, feeds)).y!.data as Float32Array)).toBeGreaterThan(25);
    },
  );

  it.each([
    [anyPass(sparseGptPruner), { levels: { '*': 0.5 } }],
    [anyPass(sparseGptPruner), { levels: { '*': 0.5 }, refit: false }],
    [anyPass(wandaPruner), { levels: { '*': 0.5 } }],
    [anyPass(globalPruner), { sparsity: 0.5 }],
  ] as const)('stays whole: pruner %#', async (pass, options) => {
    const { changed, skipped } = await pass.apply(model, pass.options.parse(options), context());
    expect(skipped).toContainEqual({ layer: 'wide', text: `w2: ${reason}` });
    expect(changed.map(({ layer }) => layer)).toContain('spread');
  });

  it('lets no channel go that it reads', async () => {
    const options = channelPruner.options.parse({ levels: { '*': 0.5 } });
    const { skipped } = await channelPruner.apply(model, options, context({ reference: model }));
    const text = `left alone: its reader wide cannot be refitted: ${reason}`;
    expect(skipped).toContainEqual({ layer: 'spread', text });
  });

  it('is rounded to nearest by an allocator that rounds by them', async () => {
    const options = sensitivityAllocator.options.parse({ budget: { weights: 8 }, rounding: 'descent', widths: [8] });
    const { changed } = await sensitivityAllocator.apply(model, options, context({ reference: model }));
    expect(changed.find(({ layer }) => layer === 'wide')?.text).toMatch(new RegExp(`; rounded to nearest: ${reason}$`));
  });
});

it('GPTQ of a wide layer can be cancelled on the way, and says how far it is', async () => {
  const cancel = new AbortController();
  const seen: number[] = [];
  const ctx = context({
    signal: cancel.signal,
    progress(done, doing) {
      if (doing !== 'rounding w2' || done === 0.5) return;
      seen.push(done);
      if (seen.length === 2) cancel.abort(new Error('enough'));
    },
  });
  const options = weightsOnlyQuantizer.options.parse({ bits_weights: 4, method: 'gptq' });
  // 1536³ operations take longer than the tenth of a second in which it is heard twice.
  await expect(weightsOnlyQuantizer.apply(net(1536), options, ctx)).rejects.toThrow('enough');
  expect(seen[0]! <= seen[1]! && seen[1]! > 0.5 && seen[1]! < 1).toBe(true);
});
