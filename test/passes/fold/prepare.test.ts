import { makeNode, makeValue } from '../../../src/graph/build.ts';
import { foldPasses, prepare } from '../../../src/passes/fold/prepare.ts';
import { runModel, testContext } from '../../helpers/context.ts';
import { smallConvNet, weight } from '../../helpers/models.ts';
import { batch, batchNorm, f32, i64, model, ops } from './helper.ts';

describe('prepare', () => {
  it('brings a model as exporters write it into plain layers', async () => {
    const bn = batchNorm('d', 'n', 4);
    const m = model(
      [2, 3, 6, 6],
      [
        makeNode('Constant', [], ['c'], { value: { tensor: f32('', [4, 1, 1], [1, -1, 2, 0]) } }),
        makeNode('Conv', ['x', 'conv.weight'], ['h']),
        makeNode('Dropout', ['h'], ['d0']),
        makeNode('Add', ['d0', 'c'], ['d']),
        bn.node,
        makeNode('Add', ['n', 'c'], ['e']),
        makeNode('GlobalAveragePool', ['e'], ['p']),
        makeNode('Shape', ['p'], ['s']),
        makeNode('Gather', ['s', 'zero'], ['batch']),
        makeNode('Concat', ['batch', 'rest'], ['target'], { axis: 0 }),
        makeNode('Reshape', ['p', 'target'], ['f']),
        makeNode('Transpose', ['fc.weight'], ['t'], { perm: [1, 0] }),
        makeNode('MatMul', ['f', 't'], ['m']),
        makeNode('Add', ['m', 'fc.bias'], ['a']),
        makeNode('Identity', ['a'], ['y']),
      ],
      [
        weight('conv.weight', [4, 3, 3, 3], 1),
        weight('fc.weight', [5, 4], 2),
        weight('fc.bias', [5], 3),
        i64('zero', [0]),
        i64('rest', [-1]),
        ...bn.tensors,
      ],
    );
    const feeds = batch(2, 3, 6, 6);
    const { model: next, notes } = await prepare(m, testContext({ calibration: [feeds] }));
    expect(ops(next)).toEqual(['Conv', 'GlobalAveragePool', 'Reshape', 'Gemm']);
    expect(next.graph.initializer.map((t) => t.name).sort()).toEqual([
      'conv.bias',
      'conv.weight',
      'fc.bias',
      'fc.weight',
      'target',
    ]);
    const [before, after] = [await runModel(m, feeds), await runModel(next, feeds)];
    Array.from(after.y?.data as Float32Array).forEach((v, i) => expect(v).toBeCloseTo(before.y?.data[i] as number, 4));
    expect(notes.map((n) => n.text)).toEqual(
      expect.arrayContaining(['folded into "h_Conv" before it', 'became the bias of "h_Conv"']),
    );
    expect(new Set(notes.map((n) => `${n.layer} ${n.text}`)).size).toBe(notes.length);
  });

  it('changes nothing where there is nothing to do', async () => {
    const m = smallConvNet();
    const { model: next, notes } = await prepare(m, testContext({ calibration: [batch(1, 3, 8, 8)] }));
    expect(next.graph.node).toEqual(m.graph.node);
    expect(notes).toEqual([]);
  });

  it('leaves nodes of onnxruntime of its own alone', async () => {
    const fused = makeNode('FusedConv', ['x', 'w'], ['h'], { activation: 'Relu' }, { domain: 'com.microsoft' });
    const nodes = [fused, makeNode('Add', ['h', 'c'], ['y'])];
    const m = model([1, 3, 4, 4], nodes, [weight('w', [2, 3, 1, 1], 1), weight('c', [2, 1, 1], 2)], {
      domains: { 'com.microsoft': 1 },
      outputs: [makeValue('y', 'float32')],
    });
    const feeds = batch(1, 3, 4, 4);
    expect(ops((await prepare(m, testContext({ calibration: [feeds] }))).model)).toEqual(['FusedConv', 'Add']);
  });
});

describe('foldPasses', () => {
  it('are named after their files and take no options', () => {
    expect(foldPasses.map((p) => p.name)).toEqual([
      'fold/constants',
      'fold/identity',
      'fold/conv_add',
      'fold/batchnorm',
    ]);
    for (const pass of foldPasses) {
      expect(pass.options.parse({})).toEqual({});
      expect(pass.options.safeParse({ weights: ['*'] }).success).toBe(false);
    }
  });
});
