import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeModel, makeNode, makeValue, type ModelParts } from '../../src/graph/build.ts';
import { writeModel } from '../../src/graph/file.ts';
import { decodeModel, encodeModel } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { onnxruntimeVersion } from '../../src/runtime/onnxruntime.ts';
import { openSession, withSession } from '../../src/runtime/session.ts';
import { QtoolError } from '../../src/util/error.ts';
import { denseModel, float, hidden, numbers } from './models.ts';

const x = numbers(1, 12);

async function failure(work: Promise<unknown>): Promise<QtoolError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  expect(error).toBeInstanceOf(QtoolError);
  return error as QtoolError;
}

describe('openSession', () => {
  it('runs a model from memory and says what goes in and out', async () => {
    await withSession(denseModel(), {}, async (session) => {
      expect(session.inputs).toEqual([{ name: 'x', type: 'float32', dims: ['N', 3] }]);
      expect(session.outputs).toEqual([{ name: 'y', type: 'float32', dims: ['N', 2] }]);
      const { y } = await session.run({ x: float([4, 3], x) });
      expect(y?.dims).toEqual([4, 2]);
      const expected = hidden(x).map((v) => Math.max(v, 0));
      // Three float32 products a sum: rounding stays below 1e-6 at magnitudes below 8.
      Array.from(y?.data as Float32Array).forEach((v, i) => expect(v).toBeCloseTo(expected[i] as number, 6));
    });
  });

  it('takes a view into a larger buffer as it stands', async () => {
    const whole = Float32Array.of(9, 9, ...x, 9);
    const { y } = await withSession(denseModel(), {}, (session) =>
      session.run({ x: { type: 'float32', dims: [4, 3], data: whole.subarray(2, 14) } }),
    );
    const { y: copied } = await withSession(denseModel(), {}, (session) => session.run({ x: float([4, 3], x) }));
    expect(y).toEqual(copied);
  });

  it('carries int64, float16, bool and strings', async () => {
    const types = ['int64', 'float16', 'bool', 'string'] as const;
    const model = makeModel({
      inputs: types.map((type) => makeValue(type, type, ['N'])),
      outputs: types.map((type) => makeValue(`${type}_out`, type, ['N'])),
      nodes: types.map((type) => makeNode('Identity', [type], [`${type}_out`])),
    });
    const feeds = {
      int64: { type: 'int64', dims: [2], data: BigInt64Array.of(-(2n ** 62n), 5n) },
      // Bit patterns of 1 and -2.
      float16: { type: 'float16', dims: [2], data: Uint16Array.of(0x3c00, 0xc000) },
      bool: { type: 'bool', dims: [2], data: Uint8Array.of(1, 0) },
      string: { type: 'string', dims: [2], data: ['å', ''] },
    } as const;
    const out = await withSession(model, {}, (session) => session.run(feeds));
    for (const type of types) expect(out[`${type}_out`]).toEqual(feeds[type]);
  });

  it('writes results over those of an earlier run', async () => {
    await withSession(denseModel(), {}, async (session) => {
      const first = await session.run({ x: float([4, 3], x) });
      const kept = first.y?.data as Float32Array;
      const second = await session.run({ x: float([4, 3], x.map((v) => -v)) }, undefined, first); // prettier-ignore
      expect(second.y?.data.length).toBe(8);
      expect(Array.from(kept)).toEqual(Array.from(second.y?.data as Float32Array));
      const wanted = hidden(x.map((v) => -v)).map((v) => Math.max(v, 0));
      kept.forEach((v, i) => expect(v).toBeCloseTo(wanted[i] as number, 6));
      // Other shapes have no place there.
      await expect(session.run({ x: float([1, 3], [1, 2, 3]) }, undefined, first)).rejects.toMatchObject({
        code: 'runtime',
      });
    });
  });

  it('loads weights beyond the limit from a temporary file that goes away', async () => {
    const before = await readdir(tmpdir());
    const session = await openSession(denseModel(), { fileAbove: 0 });
    const { y } = await session.run({ x: float([4, 3], x) });
    expect(y?.dims).toEqual([4, 2]);
    await session.close();
    await session.close();
    expect(
      (await readdir(tmpdir())).filter((name) => name.startsWith('qtool-model-') && !before.includes(name)),
    ).toEqual([]);
  });

  it('loads from a path and writes what onnxruntime made of the model', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'session-test-'));
    const [path, optimized] = [join(folder, 'm.onnx'), join(folder, 'o.onnx')];
    await writeModel(denseModel(), path);
    await withSession(path, { optimizedModelPath: optimized, optimization: 'basic' }, (session) =>
      session.run({ x: float([4, 3], x) }),
    );
    const graph = decodeModel(await readFile(optimized)).graph;
    expect(graph.node.map((node) => node.op_type)).toContain('Relu');
    await rm(folder, { recursive: true });
  });

  it('passes configuration on: MatMulNBits rounds activations unless told not to', async () => {
    const [rows, columns] = [32, 8];
    const codes = Int8Array.from(numbers(3, rows * columns), (v) => Math.round(v * 7));
    const model = makeModel({
      inputs: [makeValue('x', 'float32', [1, rows])],
      outputs: [makeValue('y', 'float32', [1, columns])],
      nodes: [makeNode('DequantizeLinear', ['w', 's'], ['d'], { axis: 1 }), makeNode('MatMul', ['x', 'd'], ['y'])],
      initializers: [
        makeTensor('w', 'int4', [rows, columns], codes),
        makeTensor(
          's',
          'float32',
          [columns],
          Float32Array.from({ length: columns }, () => 0.125),
        ),
      ],
    });
    const input = numbers(4, rows);
    const exact = Array.from({ length: columns }, (_, c) =>
      input.reduce((sum, v, r) => sum + v * 0.125 * (codes[r * columns + c] as number), 0),
    );
    const worst = async (level: 0 | undefined): Promise<number> => {
      const options =
        level === undefined ? {} : { config: { 'session.qdq_matmulnbits_accuracy_level': String(level) } };
      const { y } = await withSession(model, options, (session) => session.run({ x: float([1, rows], input) }));
      return Math.max(...Array.from(y?.data as Float32Array, (v, i) => Math.abs(v - (exact[i] as number))));
    };
    // Exact arithmetic is within float32 rounding of 32 terms; int8 activations are three orders worse.
    expect(await worst(0)).toBeLessThan(2e-6);
    expect(await worst(undefined)).toBeGreaterThan(1e-4);
  });

  it('knows its version', async () => {
    expect(await onnxruntimeVersion()).toMatch(/^\d+\.\d+\.\d+/);
  });
});

describe('what is fed', () => {
  const cases = [
    ['a missing input', {}, /no data for the model's input "x"/],
    ['a name the model does not have', { x: float([4, 3], x), z: float([1], [1]) }, /no input "z"/],
    ['another type', { x: { type: 'float64', dims: [4, 3], data: Float64Array.from(x) } }, /wants float32\[N, 3\]/],
    ['another shape', { x: float([3, 4], x) }, /the data is float32\[3, 4\]/],
    ['another rank', { x: float([12], x) }, /wants float32\[N, 3\], the data is float32\[12\]/],
  ] as const;
  it.each(cases)('refuses %s before running', async (_, feeds, text) => {
    const error = await failure(withSession(denseModel(), {}, (session) => session.run(feeds)));
    expect(error.code).toBe('data');
    expect(error.message).toMatch(text);
  });

  it('refuses an output the model does not have', async () => {
    const error = await failure(withSession(denseModel(), {}, (s) => s.run({ x: float([4, 3], x) }, ['hidden'])));
    expect(error.message).toMatch(/no tensor output "hidden"/);
  });

  it('says at which node a run fails', async () => {
    const model = makeModel({
      inputs: [makeValue('a', 'float32', ['N']), makeValue('b', 'float32', ['M'])],
      outputs: [makeValue('y', 'float32')],
      nodes: [makeNode('Add', ['a', 'b'], ['y'], {}, { name: 'sum' })],
    });
    const feeds = { a: float([2], [1, 2]), b: float([3], [1, 2, 3]) };
    const error = await failure(withSession(model, {}, (session) => session.run(feeds)));
    expect([error.code, error.at]).toEqual(['runtime', 'sum']);
    expect(error.message).not.toMatch(/\n|onnxruntime_src/);
  });
});

describe('what onnxruntime refuses', () => {
  const relu: ModelParts = {
    inputs: [makeValue('x', 'float32', ['N'])],
    outputs: [makeValue('y', 'float32', ['N'])],
    nodes: [makeNode('Relu', ['x'], ['y'], {}, { name: 'act' })],
  };
  const foo = (domain: string) => [makeNode('Foo', ['x'], ['y'], {}, { name: 'act', domain })];
  const halfRelu = [
    makeNode('Cast', ['x'], ['h'], { to: 16 }),
    makeNode('Relu', ['h'], ['r'], {}, { name: 'act' }),
    makeNode('Cast', ['r'], ['y'], { to: 1 }),
  ];
  const mismatch: ModelParts = {
    inputs: [makeValue('x', 'float32', [3])],
    outputs: [makeValue('y', 'float32', [3])],
    nodes: [makeNode('Add', ['x', 'w'], ['y'], {}, { name: 'act' })],
    initializers: [makeTensor('w', 'float32', [7], new Float32Array(7))],
  };
  const bfloat: ModelParts = {
    ...relu,
    outputs: [makeValue('y', 'bfloat16', ['N'])],
    nodes: [makeNode('Cast', ['x'], ['y'], { to: 16 })],
  };
  const custom: ModelParts = { ...relu, nodes: foo('my.ops') };
  const cases: [string, ModelParts, RegExp, string | undefined][] = [
    ['an opset too new', { ...relu, opset: 27 }, /^opset 27 of ai.onnx is newer .* \(26\)$/, undefined],
    ['an IR too new', { ...relu, ir: 99 }, /^IR version 99 is newer .* \(13\)$/, undefined],
    ['a domain without kernels', { ...custom, domains: { 'my.ops': 1 } }, /Foo of domain "my.ops"/, undefined],
    ['a domain not imported', custom, /imports no version of it/, 'act'],
    ['an unknown operator', { ...relu, nodes: foo('') }, /no operator Foo in opset 21/, 'act'],
    ['a missing kernel', { ...relu, nodes: halfRelu }, /no CPU kernel for Relu \(opset 14\)/, 'act'],
    ['a type JavaScript has not', bfloat, /type bfloat16/, undefined],
    ['shapes that cannot be', mismatch, /Incompatible dimensions/, 'act'],
  ];
  it.each(cases)('%s', async (_, parts, text, at) => {
    const error = await failure(openSession(makeModel(parts)));
    expect(error.code).toBe('runtime');
    expect(error.message).toMatch(text);
    expect(error.message).not.toMatch(/\n|onnxruntime_src/);
    expect(error.at).toBe(at);
  });

  it('files that are no models, or not there', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'session-test-'));
    const path = join(folder, 'm.onnx');
    expect((await failure(openSession(path))).message).toBe('no such file');
    await writeFile(path, encodeModel(denseModel()).subarray(0, 100));
    const error = await failure(openSession(path));
    expect([error.message, error.at]).toEqual(['this is not an ONNX model, or the file is truncated', path]);
    await rm(folder, { recursive: true });
  });
});

describe('an input without a declared shape', () => {
  const model = makeModel({
    inputs: [makeValue('x', 'float32')],
    outputs: [makeValue('y', 'float32', ['N'])],
    nodes: [makeNode('Relu', ['x'], ['y'])],
  });

  it('takes any rank but a scalar, at which some kernels end the process', async () => {
    await withSession(model, {}, async (session) => {
      expect(session.inputs[0]?.dims).toBeUndefined();
      const { y } = await session.run({ x: { type: 'float32', dims: [2], data: Float32Array.of(-1, 1) } });
      expect(y?.data).toEqual(Float32Array.of(0, 1));
      const error = await failure(session.run({ x: { type: 'float32', dims: [], data: Float32Array.of(1) } }));
      expect(error.message).toMatch(
        /input "x" wants float32, of a shape that the model does not declare but no scalar/,
      );
    });
  });

  it('refuses outputs of 4 bits, at which onnxruntime-node may end the process', async () => {
    const packed = makeModel({
      inputs: [makeValue('x', 'float32', [4])],
      outputs: [makeValue('y', 'int4', [4])],
      nodes: [makeNode('Cast', ['x'], ['y'], { to: 22 })],
    });
    const error = await withSession(packed, {}, (session) => failure(session.run({ x: { type: 'float32', dims: [4], data: new Float32Array(4) } }))); // prettier-ignore
    expect(error.message).toBe('"y" has the type int4, which cannot be exchanged with JavaScript');
  });

  it('asked for no outputs there is nothing to run', async () => {
    await withSession(model, {}, async (session) => {
      expect(await session.run({ x: { type: 'float32', dims: [1], data: Float32Array.of(1) } }, [])).toEqual({});
    });
  });
});
