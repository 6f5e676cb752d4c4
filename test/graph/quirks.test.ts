import type { AttributeValue } from '../../src/graph/attribute.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { productOf } from '../../src/graph/ops.ts';
import { floats, runModel } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';

const ms = 'com.microsoft';
type Attributes = Readonly<Record<string, AttributeValue>>;

// Square, so that any factor and batch axis may be turned.
const dims = { Gemm: [3, 3], FusedGemm: [3, 3], FusedMatMul: [3, 3, 3], FusedConv: [3, 3, 3, 3] };
type Op = keyof typeof dims;
const feeds = (op: Op) =>
  Object.fromEntries(
    ['x', 'w', 'b'].map((name, i) => {
      const shape = name !== 'b' ? dims[op] : op === 'FusedConv' ? [3] : [3, 3];
      return [name, floats(noise(i, shape.reduce((a, b) => a * b)), shape)]; // prettier-ignore
    }),
  );

async function run(op: Op, attributes: Attributes) {
  const inputs = op === 'FusedMatMul' ? ['x', 'w'] : ['x', 'w', 'b'];
  const node = makeNode(op, inputs, ['y'], attributes, { domain: op === 'Gemm' ? '' : ms });
  const given = feeds(op);
  const model = makeModel({
    opset: 17,
    ir: 8,
    domains: { [ms]: 1 },
    inputs: inputs.map((name) => makeValue(name, 'float32', given[name]!.dims)),
    outputs: [makeValue('y', 'float32')],
    nodes: [node],
  });
  const own = Object.fromEntries(inputs.map((name) => [name, given[name]!]));
  return { y: (await runModel(model, own, 'disabled'))['y'], quirk: productOf(node)?.quirk(node) };
}

// Where a node is no plain product of its inputs, nothing may take its weights for those of one.
describe.each<[Op, readonly (readonly [Attributes, string | undefined])[]]>([
  [
    'Gemm',
    [
      [{ transA: 0, alpha: { float: 1 }, beta: { float: 1 } }, undefined],
      [{ transA: 1 }, 'transA is set'],
      [{ alpha: { float: 2 } }, 'alpha or beta is not 1'],
      [{ beta: { float: 0.5 } }, 'alpha or beta is not 1'],
    ],
  ],
  [
    'FusedGemm',
    [
      [{ activation: 'Relu' }, 'an activation is part of it'],
      [{ activation: 'Relu', alpha: { float: 2 } }, 'alpha or beta is not 1'],
    ],
  ],
  [
    'FusedConv',
    [
      [{ kernel_shape: [3, 3] }, undefined],
      [{ activation: 'Relu' }, 'an activation is part of it'],
    ],
  ],
  [
    'FusedMatMul',
    [
      [{ transA: 0, transBatchA: 0, transBatchB: 0, alpha: { float: 1 } }, undefined],
      [{ transA: 1 }, 'transA is set'],
      [{ transBatchA: 1 }, 'transBatchA is set'],
      [{ transBatchB: 1 }, 'transBatchB is set'],
      [{ alpha: { float: 2 } }, 'alpha is not 1'],
    ],
  ],
])('a %s', (op, cases) => {
  it.each(cases)('with %j is a plain product or not: %s', async (attributes, said) => {
    const [plain, other] = [await run(op === 'FusedGemm' ? 'Gemm' : op, {}), await run(op, attributes)];
    expect(plain.quirk).toBeUndefined();
    expect(other.quirk).toBe(said);
    const same = (other.y!.data as Float32Array).every((v, i) => v === (plain.y!.data as Float32Array)[i]);
    expect(same).toBe(said === undefined);
  });
});
