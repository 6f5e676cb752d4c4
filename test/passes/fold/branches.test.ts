import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import type { NodeProto } from '../../../src/graph/proto.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { foldConstants } from '../../../src/passes/fold/constants.ts';
import { control } from '../../helpers/bodies.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';

const x = floats(noise(4, 3 * 4), [3, 4]);
const flag = (name: string, value: number) => makeTensor(name, 'bool', [], Uint8Array.of(value));

/** One product or the other, with an inner If in the first; both branches use the same names inside. */
function model(condition: NodeProto[], value = 1): Model {
  const inner = control('If', ['on2'], ['h2'], {
    then_branch: { nodes: [makeNode('Neg', ['h'], ['t'])], outputs: [makeValue('t', 'float32')] },
    else_branch: { nodes: [makeNode('Abs', ['h'], ['e'])], outputs: [makeValue('e', 'float32')] },
  });
  return makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 4])],
    outputs: [makeValue('y', 'float32')],
    initializers: [weight('shared', [4, 4], 1), weight('only', [4, 4], 2), flag('on', value)],
    nodes: [
      ...condition,
      control('If', [condition.at(-1)?.output[0] ?? 'on'], ['r'], {
        then_branch: {
          nodes: [
            makeNode('Constant', [], ['on2'], { value: { tensor: flag('', 0) } }),
            makeNode('MatMul', ['x', 'shared'], ['h']),
            inner,
            makeNode('MatMul', ['h2', 'w'], ['out']),
          ],
          outputs: [makeValue('out', 'float32')],
          initializers: [weight('w', [4, 4], 3)],
        },
        else_branch: {
          nodes: [makeNode('MatMul', ['x', 'only'], ['o'])],
          outputs: [makeValue('o', 'float32')],
        },
      }),
      makeNode('Add', ['r', 'x'], ['y']),
    ],
  });
}

async function folded(before: Model): Promise<Model> {
  const { model: after } = await foldConstants.apply(before, {}, testContext({ calibration: [{ x }] }));
  for (const level of ['disabled', 'all'] as const)
    expect((await runModel(after, { x }, level)).y?.data).toEqual((await runModel(before, { x }, level)).y?.data);
  return after;
}
const ops = ({ graph }: Model): string[] => graph.node.map((node) => node.op_type);
const weights = ({ graph }: Model): string[] => graph.initializer.map(({ name }) => name);

describe('an If of a constant condition', () => {
  it('is the branch that it takes, and so is one in it; what only the other branch read is gone', async () => {
    const after = await folded(model([]));
    expect(ops(after)).toEqual(['MatMul', 'Abs', 'MatMul', 'Add']);
    expect(weights(after)).toEqual(['shared', 'w']);
  });

  it('is the other branch where it is false', async () => {
    const after = await folded(model([], 0));
    expect(ops(after)).toEqual(['MatMul', 'Add']);
    expect(weights(after)).toEqual(['only']);
  });

  it('asks for a length that the model fixes, of a value with one that it does not', async () => {
    const length = [
      makeNode('Shape', ['x'], ['shape']),
      makeNode('Constant', [], ['last'], { value_int: -1 }),
      makeNode('Gather', ['shape', 'last'], ['length']),
      makeNode('Cast', ['length'], ['any'], { to: 9 }),
    ];
    expect(ops(await folded(model(length)))).toEqual(['MatMul', 'Abs', 'MatMul', 'Add']);
  });

  it('stays where it asks for a length that the model leaves open', async () => {
    const length = [
      makeNode('Shape', ['x'], ['shape']),
      makeNode('Constant', [], ['first'], { value_int: 0 }),
      makeNode('Gather', ['shape', 'first'], ['length']),
      makeNode('Cast', ['length'], ['any'], { to: 9 }),
    ];
    expect(ops(await folded(model(length)))).toContain('If');
  });
});
