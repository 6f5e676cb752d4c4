import fc from '../../helpers/fc.ts';
import type { NodeProto, TensorProto } from '../../../src/graph/proto.ts';
import { makeNode, makeValue } from '../../../src/graph/build.ts';
import { foldPasses, prepare } from '../../../src/passes/fold/prepare.ts';
import { makeTensor } from '../../../src/graph/tensor.ts';
import { toFloat16 } from '../../../src/numerics/float16.ts';
import { toBfloat16 } from '../../helpers/bfloat16.ts';
import { runModel, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet, weight } from '../../helpers/models.ts';
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
        makeNode('Mul', ['n', 'c'], ['n2']),
        makeNode('Add', ['n2', 'c'], ['e']),
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

  it.each(['float16', 'bfloat16'] as const)('reads weights stored as %s behind a Cast as float32', async (type) => {
    const bits = (type === 'float16' ? toFloat16 : toBfloat16)(noise(1, 24));
    const m = model(
      [2, 4],
      [makeNode('Cast', ['stored'], ['w'], { to: 1 }), makeNode('MatMul', ['x', 'w'], ['y'])],
      [makeTensor('stored', type, [4, 6], bits)],
    );
    const feeds = batch(2, 4);
    const prepared = await prepare(m, testContext({ calibration: [feeds] }));
    expect(ops(prepared.model)).toEqual(['MatMul']);
    expect(prepared.notes[0]?.text).toBe('weights read as float32 that are stored in 16 bits: 1');
    const output = async (of: typeof m) => (await runModel(of, feeds, 'disabled')).y?.data;
    expect(await output(prepared.model)).toEqual(await output(m));
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

/** One step of a random graph: what it does to the value `from`, keeping its shape [2, 4, 5, 5]. */
const steps = [
  'conv',
  'padded',
  'depthwise',
  'shared',
  'bn',
  'add',
  'mul',
  'sub',
  'relu',
  'identity',
  'turn',
  'sum',
] as const;

function randomGraph(chosen: readonly (typeof steps)[number][], taps: readonly number[]) {
  const nodes: NodeProto[] = [];
  const tensors: TensorProto[] = [weight('shared', [4, 4, 1, 1], 99, 0.6)];
  const values = ['x'];
  chosen.forEach((step, i) => {
    const from = values[values.length - 1] as string;
    const to = `v${i}`;
    const give = (dims: number[], scale = 0.6) => {
      tensors.push(weight(`w${i}`, dims, i + 1, scale));
      return `w${i}`;
    };
    if (step === 'bn') {
      const bn = batchNorm(from, to, 4);
      nodes.push(bn.node);
      tensors.push(...bn.tensors);
    } else if (step === 'turn') {
      nodes.push(makeNode('Transpose', [from], [`${to}t`], { perm: [0, 1, 3, 2] }));
      nodes.push(makeNode('Transpose', [`${to}t`], [to], { perm: [0, 1, 3, 2] }));
    } else {
      nodes.push(
        {
          conv: () => makeNode('Conv', [from, give([4, 4, 1, 1])], [to]),
          padded: () => makeNode('Conv', [from, give([4, 4, 3, 3], 0.2)], [to], { pads: [1, 1, 1, 1] }),
          depthwise: () => makeNode('Conv', [from, give([4, 1, 1, 1])], [to], { group: 4 }),
          shared: () => makeNode('Conv', [from, 'shared'], [to]),
          add: () => makeNode('Add', [from, give([4, 1, 1])], [to]),
          mul: () => makeNode('Mul', [give([1, 4, 1, 1]), from], [to]),
          sub: () => makeNode('Sub', [from, give([1])], [to]),
          relu: () => makeNode('Relu', [from], [to]),
          identity: () => makeNode('Identity', [from], [to]),
          // An earlier value: then that has two readers.
          sum: () => makeNode('Sum', [from, values[(taps[i] ?? 0) % values.length] as string], [to]),
        }[step](),
      );
    }
    values.push(to);
  });
  return model([2, 4, 5, 5], nodes, tensors, { outputs: [makeValue(values[values.length - 1] as string, 'float32')] });
}

describe('prepare on random graphs', () => {
  it('keeps what they compute', async () => {
    const feeds = batch(2, 4, 5, 5);
    const ctx = testContext({ calibration: [feeds] });
    const list = fc.array(fc.constantFrom(...steps), { minLength: 1, maxLength: 14 });
    const property = fc.asyncProperty(list, fc.array(fc.nat(), { maxLength: 14 }), async (chosen, taps) => {
      const m = randomGraph(chosen, taps);
      const [name] = m.graph.output.map((o) => o.name) as [string];
      const before = (await runModel(m, feeds, 'disabled'))[name]?.data as Float32Array;
      const { model: next } = await prepare(m, ctx);
      const after = (await runModel(next, feeds, 'disabled'))[name]?.data as Float32Array;
      // float32 noise of up to 14 layers in a row, relative to the largest value.
      const scale = before.reduce((a, v) => Math.max(a, Math.abs(v)), 1e-3);
      expect(after).toHaveLength(before.length);
      after.forEach((v, i) => expect(Math.abs(v - (before[i] as number)) / scale).toBeLessThan(2e-5));
    });
    await fc.assert(property, { numRuns: 25, seed: 7 });
  });
});

describe('foldPasses', () => {
  it('are named after their files and take no options', () => {
    expect(foldPasses.map((p) => p.name)).toEqual([
      'fold/constants',
      'fold/gemm',
      'fold/einsum',
      'fold/identity',
      'fold/affine',
      'fold/batchnorm',
    ]);
    for (const pass of foldPasses) {
      expect(pass.options.parse({})).toEqual({});
      expect(pass.options.safeParse({ weights: ['*'] }).success).toBe(false);
    }
  });
});
