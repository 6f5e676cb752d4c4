import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { edit } from '../../src/graph/edit.ts';
import type { Model } from '../../src/graph/model.ts';
import type { NodeProto } from '../../src/graph/proto.ts';
import { comparable, selectionNotes } from '../../src/graph/selections.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { sqnr } from '../../src/metrics/sqnr.ts';
import { staticQuantizer } from '../../src/passes/quantize/static.ts';
import { measure } from '../../src/runtime/measure.ts';
import { floats, runModel } from '../helpers/context.ts';
import { noise, weight } from '../helpers/models.ts';
import { quantized, samplesOf } from '../run/support.ts';

/** x → MatMul → h, and what is made of h. */
function net(
  outputs: readonly (readonly [string, readonly (number | string)[]])[],
  nodes: readonly NodeProto[],
): Model {
  return makeModel({
    opset: 17,
    inputs: [makeValue('x', 'float32', [1, 64])],
    outputs: outputs.map(([name, dims]) => makeValue(name, 'float32', dims)),
    initializers: [
      ...[weight('w', [64, 64], 1), weight('v', [64, 64], 2), weight('boxes', [1, 64, 4], 3)],
      ...[
        makeTensor('zero', 'float32', [], Float32Array.of(0)),
        makeTensor('none', 'float32', [1, 64], new Float32Array(64)),
      ],
      makeTensor('axes', 'int64', [1], BigInt64Array.of(0n)),
    ],
    nodes: [makeNode('MatMul', ['x', 'w'], ['h'], {}, { name: 'first' }), ...nodes],
  });
}
const positive = [
  makeNode('MatMul', ['h', 'v'], ['score'], {}, { name: 'second' }),
  makeNode('Greater', ['score', 'zero'], ['keep'], {}, { name: 'greater' }),
  makeNode('Squeeze', ['keep', 'axes'], ['mask'], {}, { name: 'squeeze' }),
];
/** The numbers of h whose score is above 0: about half of them. */
const compressed = net([['y', [1, 'found']]], [...positive, makeNode('Compress', ['h', 'mask'], ['y'], { axis: 1 }, { name: 'pick' })]); // prettier-ignore

const comparedOf = (model: Model) => comparable(model, model).compared;

describe('comparable', () => {
  it('takes outputs as they are where the numbers decide no size', () => {
    const plain = net([['h', [1, 64]]], []);
    expect(comparable(plain, plain)).toMatchObject({ model: plain, float: plain, compared: ['h'] });
    expect(selectionNotes(plain)).toEqual([]);
  });

  it('takes what is selected from, and says so', () => {
    expect(comparedOf(compressed)).toEqual(['h', 'mask']);
    expect(selectionNotes(compressed)).toEqual([expect.stringContaining('"y" has depends on its numbers')]);
    // Other outputs stay; what is behind the selection is found behind more nodes too.
    const more = net([['score', [1, 64]], ['z', [1, 'found']]], [...positive, makeNode('Compress', ['h', 'mask'], ['y'], { axis: 1 }, { name: 'pick' }), makeNode('Relu', ['y'], ['z'])]); // prettier-ignore
    expect(comparedOf(more)).toEqual(['score', 'h', 'mask']);
  });

  it('takes the output where what was found is only written into something of a known size', () => {
    const found = [...positive, makeNode('NonZero', ['keep'], ['places']), makeNode('Transpose', ['places'], ['at']), makeNode('GatherND', ['h', 'at'], ['picked'])]; // prettier-ignore
    const scattered = [...found, makeNode('ScatterND', ['none', 'at', 'picked'], ['y'])];
    expect(comparedOf(net([['y', [1, 'n']]], scattered))).toEqual(['y']);
    // A shape that is written down is believed.
    expect(comparedOf(net([['picked', [30]]], found))).toEqual(['picked']);
    expect(comparedOf(net([['picked', ['n']]], found))).not.toContain('picked');
  });

  it('finds the same values under other names by the nodes that read them', () => {
    const renamed = edit(compressed, (draft) => {
      for (const node of draft.nodes())
        draft.update(node, {
          input: node.input.map((name) => (name === 'h' ? 'other' : name)),
          output: node.output.map((name) => (name === 'h' ? 'other' : name)),
        });
    });
    const { named, compared } = comparable(renamed, compressed);
    expect([[...named], compared]).toEqual([[['other', 'h'], ['mask', 'mask']], ['h', 'mask']]); // prettier-ignore
  });
});

it('a quantized model that selects another number of rows is measured all the same', async () => {
  const images = Array.from({ length: 8 }, (_, i) => ({ x: floats(noise(300 + i, 64), [1, 64]) }));
  const { model } = await quantized(staticQuantizer, compressed, images, { bits_weights: 3 });
  const sizes = async (one: Model) =>
    Promise.all(images.map(async (feeds) => (await runModel(one, feeds)).y?.dims.join()));
  // With weights of 3 bits some scores change sign.
  expect(await sizes(model)).not.toEqual(await sizes(compressed));
  const [result] = await measure(model, compressed, samplesOf(images)(8), [sqnr()]);
  expect(Object.keys(result?.perOutput ?? { h: 0 })).toEqual(['h']);
  expect(result?.value).toBeGreaterThan(5);
  expect(result?.value).toBeLessThan(30);
});
