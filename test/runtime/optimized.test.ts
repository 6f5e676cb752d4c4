import { optimizedGraph } from '../../src/runtime/optimized.ts';
import { denseModel } from './models.ts';

describe('optimizedGraph', () => {
  it('follows the optimization level', async () => {
    const ops = async (optimization: 'disabled' | 'all') =>
      (await optimizedGraph(denseModel(), { optimization })).graph.node.map((node) => node.op_type);
    expect(await ops('disabled')).toEqual(['MatMul', 'Add', 'Relu']);
    expect((await ops('all')).length).toBeLessThan(3);
  });
});
