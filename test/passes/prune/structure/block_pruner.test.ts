import { blockPruner } from '../../../../src/passes/prune/structure/block_pruner.ts';
import { channelGroups } from '../../../../src/graph/channels.ts';
import type { Model } from '../../../../src/graph/model.ts';
import { layerName } from '../../../../src/graph/query.ts';
import { residualBranches } from '../../../../src/passes/prune/structure/branches.ts';
import { runModel, testContext } from '../../../helpers/context.ts';
import { distance, images, residualNet } from './networks.ts';

const model = residualNet();
const calibration = images(8);
const fresh = images(10)[9]!;
const prune = (given: object) =>
  blockPruner.apply(model, blockPruner.options.parse({ samples: 64, ...given }), testContext({ calibration }));
const layers = (m: Model): string[] => m.graph.node.filter((n) => n.op_type === 'Conv').map(layerName);

describe('ResidualBlockPruner', () => {
  it('knows a branch from what it is added to', async () => {
    const channels = channelGroups(model, await testContext({ calibration }).shapes(model));
    expect(residualBranches(model, channels).map(({ layers: own, other }) => [own, other])).toEqual([
      [['a0', 'b0'], 'r'],
      [['a1', 'b1'], 'e0'],
      [['a2', 'b2'], 'e1'],
    ]);
  });

  it('leaves out the block that adds least, its mean aside, and says what it cost', async () => {
    const { model: cut, changed, notes } = await prune({ budget: { macs: 0.75 } });
    expect(layers(cut)).toEqual(['stem', 'a0', 'b0', 'a2', 'b2']);
    // The block's signal is 0.002 / 0.3 of the others', its bias goes on as the mean.
    expect(distance(await runModel(cut, fresh), await runModel(model, fresh))).toBeLessThan(0.02);
    expect(changed[0]).toMatchObject({ layer: 'add1', text: expect.stringContaining('left out a1, b1') as string });
    expect(notes?.[0]).toMatch(/^MACs: \d+ → \d+ \(\d\d\.\d %\)$/);
  });

  it('is nearer to the float model with the layers behind refitted', async () => {
    const [plain, refitted] = await Promise.all(
      [false, true].map(async (reconstruct) => (await prune({ budget: { macs: 0.4 }, reconstruct })).model),
    );
    const wanted = await runModel(model, fresh);
    expect(layers(refitted!)).toHaveLength(3);
    expect(distance(await runModel(refitted!, fresh), wanted)).toBeLessThan(
      0.8 * distance(await runModel(plain!, fresh), wanted),
    );
  });

  it('refuses a budget below what is left without any block', async () => {
    await expect(prune({ budget: { macs: 0.01 } })).rejects.toThrow('no residual block is left');
  });
});
