import { makeNode, makeValue } from '../../../src/graph/build.ts';
import type { TensorProto } from '../../../src/graph/proto.ts';
import { initializers, modelInputs } from '../../../src/graph/query.ts';
import { tensorNumbers } from '../../../src/graph/tensor.ts';
import { foldConstants } from '../../../src/passes/fold/constants.ts';
import { floats, runModel } from '../../helpers/context.ts';
import { noise, weight } from '../../helpers/models.ts';
import { applied, batch, i64, model, ops } from './helper.ts';

const constantOf = (m: ReturnType<typeof model>, name: string) => initializers(m.graph).get(name) as TensorProto;

describe('fold/constants on shapes', () => {
  const reshape = [
    makeNode('Shape', ['h'], ['s'], {}, { name: 'shape' }),
    makeNode('Gather', ['s', 'zero'], ['n']),
    makeNode('Concat', ['n', 'rest'], ['target'], { axis: 0 }),
    makeNode('Reshape', ['h', 'target'], ['y']),
  ];
  const tensors = [i64('zero', [0]), i64('rest', [-1])];

  it('makes constants of shapes that no input changes', async () => {
    const m = model([2, 3, 4], [makeNode('Relu', ['x'], ['h']), ...reshape], tensors);
    const result = await applied(foldConstants, m, batch(2, 3, 4));
    expect(ops(result.model)).toEqual(['Relu', 'Reshape']);
    expect(tensorNumbers(constantOf(result.model, 'target'))).toEqual([2, -1]);
    expect(result.changed[0]).toEqual({ layer: 'shape', text: 'the shape of "h" is always [2, 3, 4]' });
  });

  it('leaves shapes that follow the input, so that another batch still runs', async () => {
    const m = model(['N', 3, 4], [makeNode('Relu', ['x'], ['h']), ...reshape], tensors);
    const result = await applied(foldConstants, m, batch(2, 3, 4));
    expect(ops(result.model)).toEqual(ops(m));
    expect(result.skipped).toEqual([{ layer: 'shape', text: 'the shape of "h" follows the shape of the input' }]);
    expect((await runModel(result.model, batch(5, 3, 4))).y?.dims).toEqual([5, 12]);
  });

  it('leaves shapes that follow the data', async () => {
    const m = model(
      [6],
      [
        makeNode('NonZero', ['x'], ['nz']),
        makeNode('Cast', ['nz'], ['h'], { to: 1 }),
        makeNode('Shape', ['h'], ['y0']),
        makeNode('Cast', ['y0'], ['y'], { to: 1 }),
      ],
      [],
    );
    const feeds = { x: floats(Float32Array.of(1, 0, 2, 0, 0, 3), [6]) };
    expect((await applied(foldConstants, m, feeds)).changed).toEqual([]);
    const counted = [
      makeNode('Cast', ['x'], ['k'], { to: 7 }),
      makeNode('ConstantOfShape', ['k'], ['h']),
      makeNode('Size', ['h'], ['n']),
      makeNode('Cast', ['n'], ['y'], { to: 1 }),
    ];
    const sized = await applied(foldConstants, model([2], counted, []), { x: floats(Float32Array.of(2, 3), [2]) });
    expect(sized.changed).toEqual([]);
  });

  it('knows start and end of Shape, and Size', async () => {
    const nodes = [
      makeNode('Shape', ['x'], ['s'], { start: -2 }),
      makeNode('Size', ['x'], ['n']),
      makeNode('Mul', ['s', 'n'], ['m']),
      makeNode('Cast', ['m'], ['f'], { to: 1 }),
      makeNode('Add', ['x', 'f'], ['y']),
    ];
    const result = await applied(foldConstants, model([3, 2], nodes, [], { opset: 15 }), batch(3, 2));
    expect(ops(result.model)).toEqual(['Add']);
    expect(tensorNumbers(constantOf(result.model, 'f'))).toEqual([18, 12]);
  });

  it('takes declared dims where others are symbolic', async () => {
    const m = model(
      ['N', 4],
      [
        makeNode('Transpose', ['x'], ['t']),
        makeNode('Shape', ['k'], ['s']),
        makeNode('Cast', ['s'], ['f'], { to: 1 }),
        makeNode('MatMul', ['w', 't'], ['k0']),
        makeNode('ReduceSum', ['k0', 'one'], ['k'], { keepdims: 0 }),
        makeNode('Mul', ['k', 'f'], ['y']),
      ],
      [weight('w', [3, 4], 1), i64('one', [1])],
    );
    m.graph.value_info.push(makeValue('k', 'float32', [3]));
    const result = await applied(foldConstants, m, { x: floats(noise(1, 20), [5, 4]) });
    expect(tensorNumbers(constantOf(result.model, 'f'))).toEqual([3]);
    expect(modelInputs(result.model)[0]?.dims).toEqual(['N', 4]);
  });
});
