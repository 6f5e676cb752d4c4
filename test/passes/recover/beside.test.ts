import { besides } from '../../../src/passes/recover/beside.ts';
import { quantizedLayers } from '../../../src/passes/recover/sites.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';

describe('besides', () => {
  it('finds what a layer’s output is added to, in both models', async () => {
    const float = smallConvNet();
    const context = testContext({ calibration: [{ x: floats(noise(1, 192), [1, 3, 8, 8]) }], reference: float });
    const { model, twin } = await staticQuantizer.apply(float, staticQuantizer.options.parse({}), context);
    const found = besides(model, twin!, quantizedLayers(model, twin!).layers);
    const add = float.graph.node.find((node) => node.op_type === 'Add');
    const branch = float.graph.node.find((node) => add?.input.includes(node.output[0]!) && node.op_type === 'Conv');
    expect(branch).toBeDefined();
    const other = add?.input.find((name) => name !== branch?.output[0]);
    const beside = found.get(branch?.name ?? '');
    expect([found.size, beside?.twin]).toEqual([1, other]);
    expect(beside?.value).toContain(other);
  });
});
