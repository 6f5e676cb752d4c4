import type { Feeds } from '../../../src/data/types.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData } from '../../../src/graph/tensor.ts';
import { levelPruner } from '../../../src/passes/prune/level.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { finetune } from '../../../src/passes/train/finetune.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';

// Four whole batches and one of three samples.
const calibration: Feeds[] = [8, 8, 8, 8, 3].map((size, i) => ({ x: floats(noise(i + 1, size * 192), [size, 3, 8, 8]) })); // prettier-ignore
const unseen: Feeds = { x: floats(noise(77, 16 * 192), [16, 3, 8, 8]) };
const reference = smallConvNet();
const context = (more = {}) => testContext({ calibration, reference, ...more });
const options = (more = {}) => ({ ...finetune.options.parse({ epochs: 20, lr: 0.005 }), ...more });
const pruned = async (): Promise<Model> =>
  (await levelPruner.apply(reference, { levels: { '*': 0.6 } }, context())).model;

async function distance(model: Model): Promise<number> {
  const [y, t] = [await runModel(model, unseen), await runModel(reference, unseen)].map(
    (out) => Object.values(out)[0]!.data as Float32Array,
  );
  return y!.reduce((sum, v, i) => sum + (v - t![i]!) ** 2, 0) / y!.length;
}
const weights = (model: Model) =>
  new Map([...initializers(model.graph)].filter(([, { data_type }]) => data_type === 1).map(([name, tensor]) => [name, floatData(tensor)])); // prettier-ignore

describe('FineTuning', () => {
  it('brings outputs nearer to the float model on samples that it never saw, and keeps zeros', async () => {
    const start = await pruned();
    const result = await finetune.apply(start, options(), context());
    expect(await distance(result.model)).toBeLessThan(0.5 * (await distance(start)));
    const [before, after] = [weights(start), weights(result.model)];
    let zeros = 0;
    for (const [name, data] of before)
      data.forEach((v, i) => {
        if (v !== 0) return;
        zeros++;
        expect(after.get(name)![i]).toBe(0);
      });
    expect(zeros).toBeGreaterThan(50);
    expect(result.model.graph.node).toEqual(start.graph.node);
    expect(result.changed.some(({ text }) => text.includes('zeros kept'))).toBe(true);
    expect(result.notes?.[0]).toMatch(/^mean squared error of the outputs .* in 20 epochs of 5 steps$/);
  }, 30_000);

  it('gives the same bits again, and follows what it is asked', async () => {
    const start = await pruned();
    const run = async (more = {}) =>
      weights((await finetune.apply(start, options({ epochs: 2, ...more }), context())).model);
    const first = await run();
    expect(await run()).toEqual(first);
    for (const more of [{ epochs: 3 }, { lr: 0.001 }, { samples: 8 }, { keep_zeros: false }]) expect(await run(more)).not.toEqual(first); // prettier-ignore
  }, 30_000);

  it('tells of its progress, and ends where the loss explodes', async () => {
    const told: [number, string | undefined][] = [];
    const progress = (done: number, doing?: string): void => void told.push([done, doing]);
    await finetune.apply(await pruned(), options({ epochs: 2 }), context({ progress }));
    expect(told.at(-1)).toEqual([1, expect.stringMatching(/^epoch 2 of 2, loss /)]);
    await expect(finetune.apply(await pruned(), options({ lr: 50 }), context())).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(/^training diverges: a loss of /) as string,
      hint: 'give a smaller lr',
    });
  }, 30_000);

  it('leaves a model alone that gives the outputs already', async () => {
    const { model, changed, notes } = await finetune.apply(reference, options(), context());
    expect([model, changed, notes]).toEqual([reference, [], [expect.stringContaining('nothing to train')]]);
  });

  it('refuses a model that is quantized already, and says where it belongs', async () => {
    const quantized = await staticQuantizer.apply(reference, staticQuantizer.options.parse({}), context());
    await expect(finetune.apply(quantized.model, options(), context())).rejects.toMatchObject({
      message: expect.stringMatching(/^no weight can be trained/) as string,
      hint: 'a model is trained before a quantizer, in float',
    });
  });
});
