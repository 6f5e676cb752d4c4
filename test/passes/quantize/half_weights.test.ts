import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import type { Model } from '../../../src/graph/model.ts';
import { initializers } from '../../../src/graph/query.ts';
import { floatData, makeTensor, typeOf } from '../../../src/graph/tensor.ts';
import { inFloat32 } from '../../../src/passes/fold/float32_arithmetic.ts';
import { storedHalves, withWidened } from '../../../src/passes/fold/half.ts';
import { withFloatOutputs, withHalfOutputs } from '../../../src/passes/fold/half_outputs.ts';
import { halvesAgain } from '../../../src/passes/quantize/half_weights.ts';
import { edit } from '../../../src/graph/edit.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { noise } from '../../helpers/models.ts';
import { half, type Half } from '../fold/half_model.ts';

/** x [N, 8] · w [8, 8] → y, with w stored in 16 bits. */
const stored = (type: Half): Model =>
  makeModel({
    opset: 17,
    ir: 8,
    inputs: [makeValue('x', 'float32', ['N', 8])],
    outputs: [makeValue('y', 'float32', ['N', 8])],
    initializers: [half('w_half', [8, 8], 1, type)],
    nodes: [makeNode('Cast', ['w_half'], ['w'], { to: 1 }), makeNode('MatMul', ['x', 'w'], ['y'])],
  });
const feeds = { x: floats(noise(2, 16), [2, 8]) };
const context = testContext({ calibration: [feeds] });

/** What is stored for w after a pass made `change` of each of its numbers. */
async function after(type: Half, change: (v: number, i: number) => number) {
  const before = stored(type);
  const wide = withWidened(before).model;
  const data = floatData(initializers(wide.graph).get('w')!).map(change);
  const changed = edit(wide, (draft) => draft.replace('w', makeTensor('w', 'float32', [8, 8], data)));
  const { model, notes } = await halvesAgain(changed, storedHalves(before), context);
  const [tensor] = model.graph.initializer;
  const is = (await runModel(model, feeds)).y!.data as Float32Array;
  const want = (await runModel(changed, feeds)).y!.data as Float32Array;
  const far = Math.max(...want.map((v, i) => Math.abs(v - is[i]!)));
  return { tensor: tensor!, notes, far, before: before.graph.initializer[0]! };
}

describe('what a pass leaves in float', () => {
  it.each<Half>(['float16', 'bfloat16'])('is the stored tensor itself where nothing changed (%s)', async (type) => {
    const { tensor, before, far } = await after(type, (v) => v);
    expect(tensor.raw_data).toBe(before.raw_data);
    expect(far).toBe(0);
  });

  it.each<Half>(['float16', 'bfloat16'])('keeps its type where that holds it exactly: pruned (%s)', async (type) => {
    const { tensor, far } = await after(type, (v, i) => (i % 2 ? v : 0));
    expect(typeOf(tensor)).toBe(type);
    expect(far).toBe(0);
  });

  it.each<Half>(['float16', 'bfloat16'])('is rounded to float16 where it is another number (%s)', async (type) => {
    const { tensor, far } = await after(type, (v) => v / 3);
    expect(typeOf(tensor)).toBe('float16');
    // Eight products of numbers below 1 by weights that are off by 2⁻¹² of themselves.
    expect(far).toBeGreaterThan(0);
    expect(far).toBeLessThan(8 * 2 ** -12);
  });

  it('stays float32 where float16 cannot hold it, and says so', async () => {
    const { tensor, notes } = await after('float16', (v) => v * 1e6);
    expect(typeOf(tensor)).toBe('float32');
    expect(notes.join()).toMatch(/^w: no longer stored in 16 bits: holds .* beyond float16's 65504$/);
  });
});

describe('outputs of float16', () => {
  const model = inFloat32(
    makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float16', ['N', 8])],
      initializers: [half('w', [8, 8], 1)],
      nodes: [makeNode('Cast', ['x'], ['h'], { to: 10 }), { ...makeNode('MatMul', ['h', 'w'], ['y']), name: '' }],
    }),
  );

  it('are float32 while a pass works, and float16 again after', async () => {
    const open = withFloatOutputs(model);
    const y = (await runModel(open, feeds)).y!;
    expect(y.type).toBe('float32');
    expect(withHalfOutputs(open, model)).toEqual(model);
    // A pass that drops the Cast gives the layer the output's name.
    const dropped = edit(open, (draft) => {
      const cast = draft.nodes().find((node) => node.output[0] === 'y')!;
      const layer = draft.nodes().find((node) => node.output[0] === cast.input[0])!;
      draft.removeNode(cast);
      draft.update(layer, { output: ['y'] });
    });
    const closed = withHalfOutputs(dropped, model);
    expect((await runModel(closed, feeds)).y!.type).toBe('float16');
    expect(withHalfOutputs(closed, model)).toBe(closed);
  });

  it('that were float32 before stay so', () => {
    const plain = stored('float16');
    expect(withFloatOutputs(plain)).toBe(plain);
    expect(withHalfOutputs(plain, plain)).toBe(plain);
  });
});
