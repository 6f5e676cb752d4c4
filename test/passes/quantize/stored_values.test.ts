import { layers } from '../../../src/graph/layer.ts';
import { floatData } from '../../../src/graph/tensor.ts';
import { formatQuantizer } from '../../../src/passes/quantize/to_format.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';

const images = { x: floats(noise(5, 4 * 192), [4, 3, 8, 8]) };
const quantized = async (options: object) => {
  const parsed = formatQuantizer.options.parse({ format: 'codebook:bits=3', ...options });
  const context = testContext({ calibration: [images], reference: smallConvNet() });
  return formatQuantizer.apply(smallConvNet(), parsed, context);
};

it('storage: values keeps float32 weights of few values, which give what the codes give, bit for bit', async () => {
  const [codes, values] = [await quantized({}), await quantized({ storage: 'values' })];
  expect(values.changed[0]?.text).toContain('stored as float weights');
  expect(codes.changed[0]?.text).toContain('float weights at load time');
  // No nodes that decode, and of each weight eight values.
  expect(values.model.graph.node.map(({ op_type }) => op_type)).not.toContain('GatherElements');
  const found = layers(values.model).layers;
  expect(found.length).toBe(layers(smallConvNet()).layers.length);
  for (const { weight } of found) {
    expect(new Set(floatData(weight.tensor)).size).toBeLessThanOrEqual(8);
    // What it was before is gone.
    expect(values.model.graph.initializer.filter(({ name }) => name.startsWith(weight.tensor.name)).length).toBe(1);
  }
  for (const level of ['disabled', 'all'] as const)
    expect((await runModel(values.model, images, level)).y?.data).toEqual((await runModel(codes.model, images, level)).y?.data); // prettier-ignore
});

it('storage: values heeds overrides: a weight that stays float is the one it was', async () => {
  const { model } = await quantized({ storage: 'values', overrides: { conv1: { format: 'float' } } });
  const of = (name: string) =>
    layers(model)
      .layers.find((layer) => layer.name === name)!
      .weight.rows();
  expect(of('conv1')).toEqual(
    layers(smallConvNet())
      .layers.find(({ name }) => name === 'conv1')!
      .weight.rows(),
  );
  expect(new Set(of('conv2')).size).toBe(8);
});
