import fc from '../../helpers/fc.ts';
import { channelGroups, leaveOne, removableChannels, removeChannels } from '../../../src/graph/channels.ts';
import { maskChannels } from '../../helpers/mask_channels.ts';
import { encodeModel, type Model } from '../../../src/graph/model.ts';
import type { Feeds } from '../../../src/data/types.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, random } from '../../helpers/models.ts';
import { blockKinds, network, recipes, tailKinds, type Recipe } from './networks.ts';

const feedsOf = (batch: number): Feeds => ({ x: floats(noise(77, batch * 48, 2), [batch, 3, 4, 4]) });
const shapesOf = (model: Model, batch: number) => testContext({ calibration: [feedsOf(batch)] }).shapes(model);

/** Cuts a random share of channels that were zeroed before; returns by how much the outputs move, relative to their size. */
async function cutZeroed(recipe: Recipe, share: number) {
  const model = network(recipe);
  const channels = channelGroups(model, await shapesOf(model, 2));
  const next = random(recipe.seed);
  const atoms = leaveOne(
    channels,
    channels.groups.flatMap((group) => group.atoms).filter(() => next() < share),
  );
  const masked = maskChannels(model, channels, atoms);
  const proved = removableChannels(masked, channels);
  const cut = removeChannels(masked, channels, atoms);
  let error = 0;
  for (const batch of [1, 3]) {
    const [before, after] = [await runModel(masked, feedsOf(batch)), await runModel(cut, feedsOf(batch))];
    for (const [name, { dims, data }] of Object.entries(before)) {
      const [x, y] = [data as Float32Array, after[name]?.data as Float32Array];
      expect(after[name]?.dims).toEqual(dims);
      const scale = Math.max(1, ...x.map(Math.abs));
      x.forEach((v, i) => (error = Math.max(error, Math.abs(v - (y[i] as number)) / scale)));
    }
  }
  return { model, cut, channels, atoms, error, unproved: [...atoms].filter((atom) => !proved.has(atom)) };
}

describe('cutting channels that are exactly zero', () => {
  // Float sums of the same terms in another order: relative 1e-5 is 100 float32 roundings.
  it.each([
    ...blockKinds.map((kind) => ({ kind, tail: 'pooled' })),
    ...tailKinds.map((tail) => ({ kind: 'conv', tail })),
  ])('keeps the function through $kind and $tail, and makes the file smaller', async ({ kind, tail }) => {
    const blocks = [kind, 'conv'].map((k) => ({ kind: k, width: 8 }));
    const { model, cut, atoms, error, unproved } = await cutZeroed({ seed: 3, blocks, tail }, 0.6);
    expect(atoms.size).toBeGreaterThan(4);
    expect(error).toBeLessThan(1e-5);
    expect(unproved).toEqual([]);
    expect(encodeModel(cut).length).toBeLessThan(encodeModel(model).length);
  });

  it('keeps the function of generated networks of all connections mixed', async () => {
    await fc.assert(
      fc.asyncProperty(recipes, fc.constantFrom(0.2, 0.5, 1), async (recipe, share) => {
        const { error, unproved } = await cutZeroed(recipe, share);
        expect(error).toBeLessThan(1e-5);
        expect(unproved).toEqual([]);
      }),
      { numRuns: 40, seed: 20 },
    );
  });
});
