import type { Feeds } from '../../../src/data/types.ts';
import { coverage } from '../../../src/analyze/coverage.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import type { NodeProto, TensorProto } from '../../../src/graph/proto.ts';
import { initializers } from '../../../src/graph/query.ts';
import { makeTensor, tensorData, typeOf } from '../../../src/graph/tensor.ts';
import { dynamicQuantizer } from '../../../src/passes/quantize/dynamic.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { snr } from '../../helpers/quality.ts';

const ids: Feeds = { ids: { type: 'int64', dims: [2, 3], data: BigInt64Array.of(0n, 63n, 7n, 7n, 31n, 5n) } };
const table = noise(3, 64 * 32, 0.2);

/** `rows` are what is looked up, `y` their product with weights. */
function network(
  more: { nodes?: readonly NodeProto[]; tensors?: readonly TensorProto[]; outputs?: string[] } = {},
): Model {
  const outputs = more.outputs ?? ['rows', 'y'];
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('ids', 'int64', ['N', 'T'])],
    outputs: outputs.map((name) => makeValue(name, name === 'halves' ? 'float16' : 'float32')),
    initializers: [makeTensor('table', 'float32', [64, 32], table), weight('w', [32, 8], 4), ...(more.tensors ?? [])],
    nodes: [
      makeNode('Gather', ['table', 'ids'], ['rows'], {}, { name: 'lookup' }),
      makeNode('MatMul', ['rows', 'w'], ['y'], {}, { name: 'product' }),
      ...(more.nodes ?? []),
    ],
  });
}

const quantizers = { static: staticQuantizer, dynamic: dynamicQuantizer } as const;

const [lookup, product] = network().graph.node as [NodeProto, NodeProto];

/** Its rows are angles of many turns. */
const angles = makeModel({
  opset: 13,
  ir: 8,
  inputs: [makeValue('ids', 'int64', ['N', 'T'])],
  outputs: [makeValue('y', 'float32')],
  initializers: [makeTensor('table', 'float32', [64, 32], table.map((v) => 1000 * v)), weight('w', [32, 8], 4)], // prettier-ignore
  nodes: [lookup, makeNode('Sin', ['rows'], ['s'], {}, { name: 'sin' }), { ...product, input: ['s', 'w'] }],
});

async function quantized(model: Model, kind: keyof typeof quantizers, options: object = {}) {
  const pass = quantizers[kind] as typeof dynamicQuantizer;
  return pass.apply(model, pass.options.parse(options), testContext({ calibration: [ids], reference: model }));
}

describe.each(['static', 'dynamic'] as const)('tables of the %s quantizer', (kind) => {
  it('are uint8 in the file, and their rows are off by half a step at most', async () => {
    const { model, changed, skipped } = await quantized(network(), kind);
    const stored = initializers(model.graph).get('table_quantized') as TensorProto;
    expect([typeOf(stored), initializers(model.graph).has('table')]).toEqual(['uint8', false]);
    expect(changed.find(({ layer }) => layer === 'lookup')?.text).toMatch(/^table uint8 -0\.\d+ … 0\.\d+$/);
    expect(skipped).toEqual([]);
    const rows = (await runModel(model, ids)).rows?.data as Float32Array;
    const float = (await runModel(network(), ids)).rows?.data as Float32Array;
    // 255 steps from the least to the greatest, zero on the grid: half a step of each, and float32 rounding.
    const step = (Math.max(...table) - Math.min(...table)) / 255;
    const worst = Math.max(...rows.map((v, i) => Math.abs(v - (float[i] as number))));
    expect(worst).toBeLessThanOrEqual(step * 0.51);
    expect(worst).toBeGreaterThan(step * 0.3);
    const codes = tensorData(stored) as Uint8Array;
    expect([Math.min(...codes), Math.max(...codes)]).toEqual([0, 255]);
  });

  it('are looked up as integers by onnxruntime', async () => {
    const { model } = await quantized(network({ outputs: ['y'] }), kind);
    const [lookup] = await coverage(model);
    expect(lookup).toMatchObject({ layer: 'lookup', op: 'Gather', kernel: 'integer', runs: 'Gather' });
  });

  it('are stored once for several lookups', async () => {
    const again = makeNode('Gather', ['table', 'ids'], ['again'], {}, { name: 'again' });
    const model = network({ nodes: [again], outputs: ['rows', 'again'] });
    const result = await runModel((await quantized(model, kind)).model, ids);
    expect(result.again?.data).toEqual(result.rows?.data);
  });

  it('are left alone in float16, which is said once', async () => {
    const half = makeTensor('half', 'float16', [64, 32], new Uint16Array(64 * 32));
    const node = makeNode('Gather', ['half', 'ids'], ['halves'], {}, { name: 'halves' });
    const { skipped } = await quantized(network({ nodes: [node], tensors: [half], outputs: ['y', 'halves'] }), kind);
    expect(skipped.filter(({ layer }) => layer === 'halves')).toHaveLength(1);
  });

  const peak = makeNode('ReduceMax', ['y'], ['peak'], { keepdims: 0 });
  const other = makeNode('Add', ['table', 'peak'], ['more'], {}, { name: 'sum' });
  const columns = makeNode('Gather', ['wide', 'few'], ['columns'], { axis: 1 }, { name: 'columns' });
  const few = makeTensor('few', 'int64', [1], BigInt64Array.of(1n));
  const small = makeNode('Gather', ['small', 'few'], ['taken'], {}, { name: 'taken' });
  it.each([
    [
      'a table that is read as numbers too',
      { nodes: [peak, other], outputs: ['y', 'more'] },
      'lookup',
      /read by "sum" too/,
      {},
    ],
    [
      'columns',
      { nodes: [columns], tensors: [weight('wide', [64, 32], 6), few], outputs: ['y', 'columns'] },
      'columns',
      /another axis/,
      {},
    ],
    [
      'a small table',
      { nodes: [small], tensors: [weight('small', [4, 2], 6), few], outputs: ['y', 'taken'] },
      'taken',
      /8 elements only/,
      {},
    ],
    [
      'what the schedule leaves in float',
      {},
      'lookup',
      /by the schedule/,
      { overrides: { lookup: { bits_weights: null } } },
    ],
  ])('leave %s in float and say why', async (_, more, layer, reason, options) => {
    const { model, skipped } = await quantized(network(more), kind, options);
    expect(skipped.find((note) => note.layer === layer)?.text).toMatch(reason);
    expect(model.graph.node.find(({ name }) => name === layer)?.input[0]).not.toMatch(/quantized/);
  });

  it('leave rows in float that are angles', async () => {
    const { model, skipped } = await quantized(angles, kind, { bits_weights: 7 });
    expect(skipped.find(({ layer }) => layer === 'lookup')?.text).toContain('looks up the angles of "sin"');
    for (const level of ['disabled', 'all'] as const) {
      const [wanted, got] = await Promise.all([angles, model].map((one) => runModel(one, ids, level)));
      // Of weights and sines in 7 and 8 bits; a table in uint8 gives noise alone.
      expect(snr(wanted?.y?.data as Float32Array, got?.y?.data as Float32Array)).toBeGreaterThan(30);
    }
  });
});
