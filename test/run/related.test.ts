import { edit } from '../../src/graph/edit.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import type { Model } from '../../src/graph/model.ts';
import { layers } from '../../src/graph/layer.ts';
import { passes } from '../../src/passes/index.ts';
import { relationOf } from '../../src/run/related.ts';
import { floats, testContext } from '../helpers/context.ts';
import { noise, smallConvNet } from '../helpers/models.ts';

const float = smallConvNet();
const context = () => testContext({ calibration: [{ x: floats(noise(1, 4 * 192), [4, 3, 8, 8]) }], reference: float });
const by = async (cls: string, options: object = {}): Promise<Model> => {
  const pass = passes.find(({ classes }) => classes.includes(cls))!;
  return (await pass.apply(float, pass.options.parse(options), context())).model;
};

/** Every weight times a power of ten that differs from channel to channel. */
const scaled = edit(float, (draft) => {
  for (const { weight } of layers(float).layers) {
    const { length } = weight.rows();
    const [outputs = 1] = weight.dims;
    const rows = weight.rows().map((v, i) => v * 10 ** (Math.floor((i * outputs) / length) % 5));
    draft.replace(weight.tensor.name, makeTensor('', 'float32', [...weight.dims], weight.fromRows(rows)));
  }
});

describe('the weights of two models', () => {
  it.each([
    ['the same', () => float],
    ['in 8 bits', () => by('PostTrainLinearQuantizer')],
    ['in 2 bits', () => by('PostTrainLinearQuantizer', { bits_weights: 2 })],
    ['in float16', () => by('Float16Quantizer')],
    ['pruned to a tenth', () => by('SparsityLevelParameterPruner', { levels: { '*': 0.6 } })],
    ['scaled channel by channel', () => scaled],
    ['equalized', () => by('CrossLayerEqualization')],
  ])('are related where one is the other %s', async (_name, other) => {
    const { compared, unrelated } = relationOf(float, await other());
    expect(compared).toBeGreaterThan(0);
    expect(unrelated).toBe(0);
  });

  it('are not where they were drawn apart, of codes either', async () => {
    const apart = smallConvNet({ seed: 500 });
    expect(relationOf(apart, float)).toEqual({ compared: 3, unrelated: 3 });
    expect(relationOf(apart, await by('PostTrainLinearQuantizer'))).toEqual({ compared: 3, unrelated: 3 });
  });

  it('are not compared where layers or shapes are others', () => {
    const renamed = edit(float, (draft) => {
      for (const node of draft.nodes()) draft.update(node, { name: `${node.name ?? ''}_other` });
    });
    expect(relationOf(float, renamed)).toEqual({ compared: 0, unrelated: 0 });
  });
});
