import type { Feeds } from '../../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../../src/graph/build.ts';
import { modelBytes } from '../../../src/graph/file.ts';
import { encodeModel, type Model } from '../../../src/graph/model.ts';
import { describeValue, everyNode } from '../../../src/graph/query.ts';
import { typeOf } from '../../../src/graph/tensor.ts';
import { inFloat32, plainFloat32 } from '../../../src/passes/fold/float32_arithmetic.ts';
import { fromFloat16, toFloat16 } from '../../../src/numerics/float16.ts';
import { toBfloat16 } from '../../helpers/bfloat16.ts';
import { floats, runModel } from '../../helpers/context.ts';
import { noise } from '../../helpers/models.ts';
import { half, halfModel } from './half_model.ts';

const rows = noise(50, 24, 1);
const x16: Feeds = { x: { type: 'float16', dims: [3, 8], data: toFloat16(rows) } };
const x32: Feeds = { x: floats(fromFloat16(toFloat16(rows)), [3, 8]) };

/** What onnxruntime-node gives of float16, as numbers; it hands Float16Array over where that exists. */
function numbers(outputs: Feeds): number[] {
  const { data, type } = outputs.y!;
  const bits = data as unknown as Uint16Array;
  return Array.from(type === 'float16' && bits instanceof Uint16Array ? fromFloat16(bits) : (data as Float32Array));
}

/** Root of the mean square of differences, as a share of the numbers'. */
function relative(a: readonly number[], b: readonly number[]): number {
  const square = (list: readonly number[]): number => list.reduce((sum, v) => sum + v * v, 0);
  return Math.sqrt(square(a.map((v, i) => v - b[i]!)) / square(a));
}

const types = (m: Model): string[] => [...m.graph.input, ...m.graph.output].map((v) => describeValue(v).type);

describe('a model that computes in float16', () => {
  it.each(['disabled', 'all'] as const)('gives what it gave, in float32 inside (%s)', async (level) => {
    const before = halfModel('float16');
    const after = inFloat32(before);
    const [was, is] = [numbers(await runModel(before, x16, level)), numbers(await runModel(after, x16, level))];
    // float16 rounds by 2⁻¹¹ = 5e-4 at each of a dozen nodes.
    expect(relative(was, is)).toBeLessThan(3e-3);
    expect(types(after)).toEqual(['float16', 'float16']);
  });

  it('computes as one of float32 does to the last bits, up to the Cast at its end', async () => {
    const [half, wide] = [inFloat32(halfModel('float16')), plainFloat32(halfModel('float16', 'float32'))];
    const is = numbers(await runModel(half, x16, 'disabled'));
    const want = (await runModel(wide, x32, 'disabled')).y!.data as Float32Array;
    expect(is).toEqual(Array.from(fromFloat16(toFloat16(want))));
  });

  it('keeps weights as they are stored, in no more bytes than Casts take', () => {
    const before = halfModel('float16');
    const after = inFloat32(before);
    const stored = after.graph.initializer.filter((t) => t.name.endsWith('_half'));
    expect(stored.map(({ name }) => name)).toEqual(['w_half', 'outer_half', 'large_half']);
    expect(stored.map(typeOf)).toEqual(['float16', 'float16', 'float16']);
    // The data are shared, not copied.
    expect(stored[0]!.raw_data).toBe(before.graph.initializer[0]!.raw_data);
    // Seven weights of 8 × 8, 128 bytes each as float16: as float32 they would take 896 bytes more, beside the nodes.
    const halves = encodeModel(after).length;
    expect(encodeModel(plainFloat32(before)).length - halves).toBeGreaterThan(0);
    expect(modelBytes(after)).toBe(halves);
  });

  it('leaves no 16-bit type inside, and layers their names', () => {
    const after = inFloat32(halfModel('float16'));
    const casts = [...everyNode(after.graph)].filter((n) => n.attribute.some((a) => a.name === 'to' && a.i.low === 10));
    expect(casts.map((node) => node.output)).toEqual([['y']]);
    expect(after.graph.node.map(({ name }) => name)).toEqual(expect.arrayContaining(['first', 'second', 'gelu', 'y']));
  });

  it('is left alone once it is in float32, and so is one that only stores in float16', () => {
    const once = inFloat32(halfModel('float16'));
    expect(inFloat32(once)).toBe(once);
    const stored = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float32', ['N', 8])],
      initializers: [half('w_half', [8, 8], 1)],
      nodes: [makeNode('Cast', ['w_half'], ['w'], { to: 1 }), makeNode('MatMul', ['x', 'w'], ['y'])],
    });
    expect(inFloat32(stored)).toBe(stored);
  });

  it('takes an input that is an output too, a value of a body that captures an input, and an output that is read inside', async () => {
    const before = makeModel({
      opset: 17,
      ir: 8,
      inputs: [makeValue('x', 'float16', ['N', 8])],
      outputs: ['x', 'y', 'z'].map((name) => makeValue(name, 'float16', ['N', 8])),
      initializers: [half('w', [8, 8], 1)],
      nodes: [makeNode('MatMul', ['x', 'w'], ['z']), makeNode('Add', ['z', 'x'], ['y'])],
    });
    const after = inFloat32(before);
    const [was, is] = [await runModel(before, x16), await runModel(after, x16)];
    expect(Object.keys(is).sort()).toEqual(['x', 'y', 'z']);
    expect(relative(numbers(was), numbers(is))).toBeLessThan(2e-3);
    expect(types(after)).toEqual(types(before));
  });
});

describe('a model that computes in bfloat16', () => {
  it.each(['disabled', 'all'] as const)('runs in float32, by the weights that it stores (%s)', async (level) => {
    const model = inFloat32(halfModel('bfloat16', 'float32'));
    const x = { x: floats(rows, [3, 8]) };
    const is = numbers(await runModel(model, x, level));
    // The same model written with the same numbers in float32 from the start.
    const want = numbers(await runModel(plainFloat32(halfModel('bfloat16', 'float32')), x, level));
    expect(relative(want, is)).toBeLessThan(1e-6);
    expect(model.graph.initializer.find(({ name }) => name === 'w_half')?.data_type).toBe(16);
    // onnxruntime has no kernels for the model as it was.
    await expect(runModel(halfModel('bfloat16', 'float32'), x, level)).rejects.toThrow();
  });

  it('has float32 inputs and outputs in the place of bfloat16 ones', async () => {
    const model = inFloat32(halfModel('bfloat16'));
    expect(types(model)).toEqual(['float32', 'float32']);
    const rounded = Float32Array.from(
      toBfloat16(rows),
      (bits) => new Float32Array(Uint32Array.of(bits << 16).buffer)[0]!,
    );
    const [is, want] = [model, inFloat32(halfModel('bfloat16', 'float32'))].map((m) =>
      runModel(m, { x: floats(rounded, [3, 8]) }),
    );
    expect(numbers(await is!)).toEqual(numbers(await want!));
  });
});
