import { zeroCodes } from '../../src/archive/codes.ts';
import { packModel } from '../../src/archive/pack.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { encodeModel, type Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { random } from '../helpers/models.ts';

const next = random(3);
/** Codes of which 5 is the commonest, but for every fourth column. */
const codes = Uint8Array.from({ length: 1200 }, (_, i) =>
  next() < (i % 4 === 0 ? 0.2 : 0.95) ? 5 : Math.floor(12 * next()),
);
const zeros = codes.filter((code) => code === 5).length;
const levels = Float32Array.from({ length: 12 }, (_, i) => (i - 5) / 8);

/** Codes of 8 or 4 bits that a table decodes, as number formats are stored. */
function looked(type: 'uint8' | 'uint4', table = levels, groups = 0): Model {
  const offsets = Int32Array.from({ length: groups }, (_, g) => (g * table.length) / groups);
  return makeModel({
    inputs: [makeValue('x', 'float32', [1])],
    outputs: [makeValue('y', 'float32', [1200])],
    nodes: [
      makeNode('Cast', ['codes'], ['cast'], { to: 6 }),
      ...(groups > 0 ? [makeNode('Add', ['cast', 'offsets'], ['index'])] : []),
      makeNode('Reshape', [groups > 0 ? 'index' : 'cast', 'flat'], ['places']),
      makeNode('GatherElements', ['table', 'places'], ['y'], { axis: 0 }),
    ],
    initializers: [
      makeTensor('codes', type, [30, 40], codes),
      makeTensor('flat', 'int64', [1], BigInt64Array.of(BigInt(-1))),
      makeTensor('table', 'float32', [table.length], table),
      ...(groups > 0 ? [makeTensor('offsets', 'int32', [groups, 1], offsets)] : []),
    ],
  });
}

const factsOf = async (model: Model) => {
  const { tensors } = await packModel(encodeModel(model), {
    open: () => Promise.reject(new Error('no external data')),
    zeros: zeroCodes(model.graph),
  });
  return tensors.find(({ tensor }) => tensor?.name === 'codes')!.facts;
};

describe('codes into a table', () => {
  it.each(['uint8', 'uint4'] as const)(
    'count as weights: zeros by the level, bits by the values (%s)',
    async (type) => {
      const facts = await factsOf(looked(type));
      expect(facts).toMatchObject({ elements: 1200, kept: 1200 - zeros, values: 11 });
      expect(facts.weightBits[0]).toBe(4);
      // A quarter of the columns at H(0.8) a weight, the others at H(0.05), where 0.22 of the weights are kept; and what learning that costs.
      expect(facts.indexBits[1]).toBeGreaterThan(1.5);
      expect(facts.indexBits[1]).toBeLessThan(2.6);
    },
  );

  it('of a table for each group are zero where all tables have 0', () => {
    const both = Float32Array.of(-1, 0, 0.5, -2, 0, 0);
    expect(zeroCodes(looked('uint8', both, 2).graph).get('codes')).toEqual(new Set([1]));
  });

  it('without a level of 0 have no zeros', async () => {
    const facts = await factsOf(
      looked(
        'uint8',
        levels.map((level) => level + 0.01),
      ),
    );
    expect(facts).toMatchObject({ kept: 1200, values: 12, indexBits: [0, 0] });
  });
});

describe('codes of a zero point', () => {
  const dequantized = (type: 'int8' | 'uint8', points: number[]): Model => {
    const of = type === 'int8' ? Int8Array : Uint8Array;
    return makeModel({
      inputs: [makeValue('x', 'float32', [1])],
      outputs: [makeValue('y', 'float32', [30, 40])],
      nodes: [makeNode('DequantizeLinear', ['codes', 'scale', 'zero'], ['y'], { axis: 0 })],
      initializers: [
        makeTensor('codes', type, [30, 40], of.from([...codes].map((code) => code - (type === 'int8' ? 8 : 0)))),
        makeTensor('scale', 'float32', points.length > 1 ? [30] : [], new Float32Array(points.length).fill(0.1)),
        makeTensor('zero', type, points.length > 1 ? [30] : [], of.from(points)),
      ],
    });
  };

  it('are zero where they are equal to it, negative ones too', async () => {
    expect(await factsOf(dequantized('uint8', [5]))).toMatchObject({ kept: 1200 - zeros });
    expect(await factsOf(dequantized('int8', [-3]))).toMatchObject({ kept: 1200 - zeros });
  });

  it('that differs from channel to channel are not looked into', () => {
    expect(
      zeroCodes(
        dequantized(
          'uint8',
          Array.from({ length: 30 }, (_, i) => i),
        ).graph,
      ).size,
    ).toBe(0);
  });
});

it('plain floats are their own zeros', () => {
  const graph = makeModel({ inputs: [], outputs: [], nodes: [], initializers: [makeTensor('w', 'float32', [2, 2], Float32Array.of(0, 1, 2, 3))] }).graph; // prettier-ignore
  expect(zeroCodes(graph).size).toBe(0);
});
