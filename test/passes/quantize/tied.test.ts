import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { edit } from '../../../src/graph/edit.ts';
import { modelBytes } from '../../../src/graph/file.ts';
import type { Model } from '../../../src/graph/model.ts';
import type { NodeProto, TensorProto } from '../../../src/graph/proto.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import type { Pass } from '../../../src/passes/pass.ts';
import { dynamicQuantizer } from '../../../src/passes/quantize/dynamic.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { retied, untied } from '../../../src/passes/quantize/tied.ts';
import { weightsOnlyQuantizer } from '../../../src/passes/quantize/weights_only.ts';
import { floats, runModel } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { beside, quality, quantized, quantizers, tableOf, words } from './tied_models.ts';

type Form = 'transpose' | 'gemm' | 'copy';

/** ids → rows of the table → ×2 → logits over the table's words. */
function network(form: Form, width: number): Model {
  const table = tableOf(width);
  const turned = Float32Array.from(table, (_, i) => table[(i % words) * width + Math.floor(i / words)] as number);
  const product: readonly NodeProto[] =
    form === 'transpose'
      ? [
          makeNode('Transpose', ['table'], ['head'], { perm: [1, 0] }),
          makeNode('MatMul', ['hidden', 'head'], ['logits'], {}, { name: 'head' }),
        ]
      : form === 'copy'
        ? [makeNode('MatMul', ['hidden', 'head_weight'], ['logits'], {}, { name: 'head' })]
        : [
            makeNode('Flatten', ['hidden'], ['flat'], { axis: 2 }),
            makeNode('Gemm', ['flat', 'table'], ['logits'], { transB: 1 }, { name: 'head' }),
          ];
  const copy: readonly TensorProto[] =
    form === 'copy' ? [makeTensor('head_weight', 'float32', [width, words], turned)] : [];
  return makeModel({
    opset: 21,
    ir: 10,
    inputs: [makeValue('ids', 'int64', ['N', 'T'])],
    outputs: ['rows', 'logits'].map((name) => makeValue(name, 'float32')),
    initializers: [
      makeTensor('table', 'float32', [words, width], table),
      makeTensor('two', 'float32', [1], Float32Array.of(2)),
      ...copy,
    ],
    nodes: [
      makeNode('Gather', ['table', 'ids'], ['rows'], {}, { name: 'lookup' }),
      makeNode('Mul', ['rows', 'two'], ['hidden'], {}, { name: 'twice' }),
      ...product,
    ],
  });
}

// Bytes a weight, and the least SQNR of the rows. 7 bits where uint8 meets int8, as processors without VNNI saturate at 8. Floors: 6 dB a bit less what a range has over its spread.
const settings: readonly (readonly [string, Pass<never>, object, number, number])[] = [
  ['static', staticQuantizer as Pass<never>, { bits_weights: 7 }, 1, 35],
  ['static, one scale', staticQuantizer as Pass<never>, { bits_weights: 7, per_channel: false }, 1, 30],
  ['dynamic', dynamicQuantizer as Pass<never>, { bits_weights: 7 }, 1, 35],
  ['4 bits', weightsOnlyQuantizer as Pass<never>, { bits_weights: 4, block_size: 32, method: 'mse' }, 0.6, 17],
  ['GPTQ', weightsOnlyQuantizer as Pass<never>, { bits_weights: 4, block_size: 32, method: 'gptq' }, 0.6, 17],
  ['rows', weightsOnlyQuantizer as Pass<never>, { bits_weights: 4, block_size: null, method: 'rtn' }, 0.5, 15],
  [
    'packed',
    weightsOnlyQuantizer as Pass<never>,
    { bits_weights: 4, block_size: 16, storage: 'packed', accuracy_level: 0 },
    0.7,
    17,
  ],
  ['folded', weightsOnlyQuantizer as Pass<never>, { bits_weights: 4, storage: 'folded' }, 0.6, 17],
  // Rows of 80 are no whole blocks of 32, which a packed table must have.
  ['packed, 32', weightsOnlyQuantizer as Pass<never>, { bits_weights: 4, block_size: 32, storage: 'packed' }, 0.7, 17],
];

describe.each(['transpose', 'gemm', 'copy'] as const)('a table that is looked up and multiplied with (%s)', (form) => {
  // 80 is no multiple of 32: the last block of a row is short.
  it.each(settings)('is stored once and well: %s', async (_, pass, options, bytes, floor) => {
    for (const width of [64, 80]) {
      const float = network(form, width);
      const { model, changed } = await quantized(float, pass, options);
      expect(changed.map(({ layer }) => layer)).toEqual(expect.arrayContaining(['lookup', 'head']));
      // Once what one copy takes and some 4 kB of names and scales: half a copy more would be beyond it.
      expect(modelBytes(model)).toBeLessThan(words * width * bytes * 1.2 + 4096);
      expect(await quality(model, float, 'rows')).toBeGreaterThan(floor);
      expect(await quality(model, float, 'logits')).toBeGreaterThan(floor - 3);
    }
  });
});

describe('a tied table of which the schedule tells lookup and product apart', () => {
  const forms = ['transpose', 'gemm', 'copy'] as const;
  const heard = async (form: Form, pass: Pass<never>, options: object) => {
    const float = network(form, 64);
    const { model } = await quantized(float, pass, options);
    return [await quality(model, float, 'rows'), await quality(model, float, 'logits')] as [number, number];
  };

  it.each(forms)('each has its own width (%s)', async (form) => {
    const at = (lookup: number, head: number) => {
      const overrides = { lookup: { bits_weights: lookup }, head: { bits_weights: head } };
      return heard(form, weightsOnlyQuantizer as Pass<never>, { overrides, storage: 'folded' });
    };
    // About 6 dB a bit: 3 bits give less than 20, 8 bits more than 35. What the product gives can be no better than the rows.
    const [narrow] = await at(3, 8);
    expect(narrow).toBeLessThan(20);
    const [rows, logits] = await at(8, 3);
    expect(rows).toBeGreaterThan(35);
    expect(logits).toBeLessThan(20);
  });

  // A Gemm that reads the table itself keeps it in float for both.
  it.each(['transpose', 'copy'] as const)('one of the two stays in float (%s)', async (form) => {
    for (const [, pass, options] of quantizers.filter(([name]) => name !== 'packed')) {
      const [rows, logits] = await heard(form, pass, { ...options, overrides: { head: { bits_weights: null } } });
      expect(rows).toBeLessThan(60);
      expect(Math.min(rows, logits)).toBeGreaterThan(25);
      const [own, product] = await heard(form, pass, { ...options, overrides: { lookup: { bits_weights: null } } });
      expect(own).toBeGreaterThan(110);
      expect(product).toBeLessThan(60);
      expect(product).toBeGreaterThan(25);
    }
  });
});

// Codes with zero points, and of 16 bits, are none that rows can be looked up in by scales alone.
it.each([{ bits_weights: 7, weights_symmetric: false }, { bits_weights: 16 }, { bits_weights: 3 }])(
  'a table has codes of its own where the product holds it as %j',
  async (options) => {
    const data = tableOf(64).map((v) => v + 0.05);
    const turned = Float32Array.from(data, (_, i) => data[(i % words) * 64 + Math.floor(i / words)] as number);
    const head = makeNode('MatMul', ['hidden', 'w'], ['y'], {}, { name: 'head' });
    const float = beside(
      makeTensor('table', 'float32', [words, 64], data),
      makeTensor('w', 'float32', [64, words], turned),
      head,
    );
    const { model, changed } = await quantized(float, staticQuantizer as Pass<never>, options);
    const own = options.bits_weights !== 3;
    // 8 bits for the whole table, or 3 a row.
    expect(await quality(model, float, 'rows')).toBeGreaterThan(own ? 25 : 8);
    expect(await quality(model, float, 'y')).toBeGreaterThan(own ? 25 : 8);
    expect(changed.find(({ layer }) => layer === 'lookup')?.text).toMatch(own ? /^table uint8/ : /^table in the codes/);
  },
);

describe('a transposed table', () => {
  const from = (table: TensorProto, attributes: object, reader = 'MatMul'): Model =>
    makeModel({
      opset: 21,
      ir: 10,
      inputs: [makeValue('x', 'float32', ['N', 4])],
      outputs: [makeValue('y', 'float32')],
      initializers: [table],
      nodes: [
        makeNode('Transpose', ['table'], ['turned'], attributes as never),
        makeNode(reader, ['x', 'turned'], ['y'], {}, { name: 'head' }),
      ],
    });
  const matrix = weight('table', [4, 4], 1);

  it.each([{ perm: [1, 0] }, {}])('becomes a weight of its own while it is quantized: %j', async (attributes) => {
    const model = from(matrix, attributes);
    const { model: apart, copies } = untied(model);
    expect(copies).toEqual([{ table: 'table', copy: 'turned' }]);
    expect(apart.graph.node.map((node) => node.op_type)).toEqual(['MatMul']);
    const x = { x: floats(noise(5, 8), [2, 4]) };
    const wanted = await runModel(model, x);
    for (const one of [apart, retied(apart, copies)]) expect(await runModel(one, x)).toEqual(wanted);
  });

  it.each<[string, Model]>([
    ['turned by nothing', from(matrix, { perm: [0, 1] })],
    ['of three axes', from(weight('table', [4, 4, 2], 1), { perm: [2, 0, 1] })],
    ['of doubles', from(makeTensor('table', 'float64', [4, 4], Float64Array.from(noise(1, 16))), {})],
    ['that no product reads', from(matrix, {}, 'Add')],
    ['that is an output', edit(from(matrix, {}), (draft) => draft.addOutput(makeValue('turned', 'float32', [4, 4])))],
    ['turned by another operator', edit(from(matrix, {}), (draft) => {
      draft.update(draft.nodes()[0]!, { op_type: 'Identity' });
    })], // prettier-ignore
  ])('is left as it is: %s', (_, model) => {
    const result = untied(model);
    expect(result.model).toBe(model);
    expect(result.copies).toEqual([]);
    expect(retied(model, result.copies)).toBe(model);
  });
});

it('a lookup shares what a product has that reads the table from the left', async () => {
  const data = tableOf(64);
  const float = beside(
    makeTensor('table', 'float32', [words, 64], data),
    makeTensor('w', 'float32', [words, 64], data),
    makeNode('MatMul', ['w', 'columns'], ['y'], {}, { name: 'head' }),
    [makeNode('Flatten', ['hidden'], ['flat'], { axis: 2 }), makeNode('Transpose', ['flat'], ['columns'])],
  );
  const { model } = await quantized(float, weightsOnlyQuantizer as Pass<never>, { bits_weights: 8 });
  expect(modelBytes(model)).toBeLessThan(words * 64 * 1.1 + 4096);
  expect(await quality(model, float, 'rows')).toBeGreaterThan(35);
  expect(await quality(model, float, 'y')).toBeGreaterThan(35);
});

it('a lookup finds its codes among those of other layers', async () => {
  const data = tableOf(64);
  const turned = Float32Array.from(data, (_, i) => data[(i % words) * 64 + Math.floor(i / words)] as number);
  const float = beside(
    makeTensor('table', 'float32', [words, 64], data),
    makeTensor('w', 'float32', [64, words], turned),
    makeNode('MatMul', ['between', 'w'], ['y'], {}, { name: 'head' }),
    [makeNode('MatMul', ['hidden', 'middle'], ['between'], {}, { name: 'middle' })],
    [weight('middle', [64, 64], 5)],
  );
  for (const [, pass, options] of quantizers) {
    const { model, changed } = await quantized(float, pass, options);
    expect(changed.map(({ layer }) => layer)).toEqual(expect.arrayContaining(['lookup', 'middle', 'head']));
    // With a scale for every 16 weights some 1.25 bytes a weight; another table would be half as much again.
    expect(modelBytes(model)).toBeLessThan((words + 64) * 64 * 1.3 + 4096);
    expect(await quality(model, float, 'rows')).toBeGreaterThan(30);
  }
});

// 8 bits are the most that rows are looked up in by scales alone; what processors without VNNI make of them is not looked at.
it('a lookup shares codes of 8 bits', async () => {
  const float = network('gemm', 64);
  const { changed } = await quantized(float, staticQuantizer as Pass<never>, { bits_weights: 8 });
  expect(changed.find(({ layer }) => layer === 'lookup')?.text).toMatch(/^table in the codes/);
});

describe('a tied table that stays in float', () => {
  it('is not stored a second time', async () => {
    const float = network('transpose', 64);
    const options = { bits_weights: 4, overrides: { '*': { bits_weights: null } } };
    const { model } = await quantized(float, weightsOnlyQuantizer as Pass<never>, options);
    expect(modelBytes(model)).toBeLessThan(modelBytes(float) + 200);
    expect(await quality(model, float, 'logits')).toBe(Infinity);
  });
});
