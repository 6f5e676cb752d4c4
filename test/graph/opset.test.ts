import { bytesOf } from '../../src/graph/bytes.ts';
import type { Feeds, Tensor } from '../../src/data/types.ts';
import { makeAttribute, stringAttribute } from '../../src/graph/attribute.ts';
import { makeModel, makeNode, makeValue, type ModelParts } from '../../src/graph/build.ts';
import type { DType } from '../../src/graph/dtype.ts';
import type { Model } from '../../src/graph/model.ts';
import { upgradeOpset } from '../../src/graph/opset.ts';
import { breaking } from '../../src/graph/opset/adapters.ts';
import { firstVersions } from '../../src/graph/opset/versions.ts';
import {
  AttributeCodec,
  FunctionCodec,
  GraphCodec,
  ModelCodec,
  NodeCodec,
  int64,
  toNumber,
  type GraphProto,
  type NodeProto,
} from '../../src/graph/proto.ts';
import { modelOf } from '../../src/graph/model.ts';
import { opset } from '../../src/graph/query.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { floats, runModel } from '../helpers/context.ts';
import { cases, float, x, type Case } from './opset-cases.ts';

/** One node of an old operator set, its inputs fed or constant in the order given. */
function single({
  op,
  opset,
  feeds,
  attributes = {},
  constants = {},
  outputs = [['y', 'float32']],
  declare,
}: Case): Model {
  const shape = (t: Tensor) => (declare === false ? undefined : t.dims);
  const node = makeNode(
    op,
    [...Object.keys(feeds), ...Object.keys(constants)],
    outputs.map(([name]) => name),
    attributes,
  );
  return makeModel({
    opset,
    ir: opset < 9 ? 4 : 7,
    inputs: Object.entries(feeds).map(([name, t]) => makeValue(name, t.type, shape(t))),
    outputs: outputs.map(([name, type]) => makeValue(name, type)),
    nodes: [node],
    initializers: Object.entries(constants).map(([name, [type, dims, data]]) => makeTensor(name, type, dims, data)),
  });
}

/** The upgraded model must compute bit for bit what the old one did: the same kernels run. */
async function expectSame(model: Model, feeds: Feeds, versions = [13, 18, 21, 25]): Promise<void> {
  const before = await runModel(model, feeds, 'disabled');
  for (const version of versions.filter((v) => v > opset(model))) {
    const after = upgradeOpset(model, version).model;
    expect(opset(after)).toBe(version);
    expect(await runModel(after, feeds, 'disabled')).toEqual(before);
  }
}

describe('upgradeOpset', () => {
  it.each(cases)('$op of opset $opset: $about', async (c) => {
    await expectSame(single(c), c.feeds, c.to);
  });

  it('keeps INT64_MAX, which a double cannot hold', () => {
    const node = makeNode('Slice', ['x'], ['y'], { starts: [0], axes: [1] });
    node.attribute.push({ ...makeAttribute('ends', [0]), ints: [int64(2n ** 63n - 1n)] });
    const model = makeModel({
      opset: 9,
      ir: 4,
      inputs: [makeValue('x', 'float32', [2, 5])],
      outputs: [makeValue('y', 'float32')],
      nodes: [node],
    });
    const ends = upgradeOpset(model, 13).model.graph.initializer.find((t) => t.name === 'y_ends');
    expect(Buffer.from(bytesOf(ends!.raw_data)).readBigInt64LE()).toBe(2n ** 63n - 1n);
  });

  // Average and Lp pooling have other kernels from opset 18 and 19 on, which sum in another order: float noise of 1e-6.
  it.each<Pick<Case, 'op' | 'attributes'>>([
    { op: 'AveragePool', attributes: {} },
    { op: 'AveragePool', attributes: { count_include_pad: 1 } },
    { op: 'LpPool', attributes: {} },
  ])('$op of opset 7 $attributes', async ({ op, attributes }) => {
    const feeds = { x: x(1, 2, 8, 8) };
    const more = { kernel_shape: [3, 3], strides: [2, 2], pads: [1, 1, 1, 1] };
    const model = single({ op, opset: 7, feeds, attributes: { ...more, ...attributes } });
    const before = (await runModel(model, feeds)).y?.data as Float32Array;
    for (const version of [11, 18, 19, 22]) {
      const after = (await runModel(upgradeOpset(model, version).model, feeds)).y?.data as Float32Array;
      expect(after).toHaveLength(before.length);
      after.forEach((value, i) => expect(value).toBeCloseTo(before[i] as number, 5));
    }
  });

  it('says what changed where, and returns a model that is new enough as it is', () => {
    const model = single(cases[0] as Case);
    const { model: next, notes } = upgradeOpset(model, 13);
    expect(notes).toEqual([{ layer: 'y_Clip', text: 'Clip is written as of opset 11' }]);
    expect(upgradeOpset(next, 13)).toEqual({ model: next, notes: [] });
    expect(upgradeOpset(next, 11).model).toBe(next);
    expect(opset(model)).toBe(10);
  });

  // No kernel takes float64 before opset 12, so there is nothing to compare with but the definition.
  it('gives the bounds of a float64 Clip as float64', async () => {
    const model = makeModel({
      opset: 10,
      inputs: [makeValue('x', 'float64', [3])],
      outputs: [makeValue('y', 'float64')],
      nodes: [makeNode('Clip', ['x'], ['y'], { min: { float: 0.5 }, max: { float: 2 } })],
    });
    const feeds: Feeds = { x: { type: 'float64', dims: [3], data: Float64Array.of(-1, 1.1, 9) } };
    expect((await runModel(upgradeOpset(model, 13).model, feeds)).y?.data).toEqual(Float64Array.of(0.5, 1.1, 2));
  });

  it('shares equal constants', () => {
    const clip = (from: string, to: string) => makeNode('Clip', [from], [to], { min: { float: 0 }, max: { float: 6 } });
    const model = makeModel({
      opset: 9,
      ir: 4,
      inputs: [makeValue('x', 'float32', [2])],
      outputs: [makeValue('z', 'float32')],
      nodes: [clip('x', 'y'), clip('y', 'z')],
    });
    expect(upgradeOpset(model, 13).model.graph.initializer.map((t) => t.name)).toEqual(['y_min', 'y_max']);
  });

  it('makes constants of the listed initializers of an IR 3 model, as they were', async () => {
    const model = makeModel({
      opset: 8,
      ir: 3,
      inputs: [makeValue('x', 'float32', [2]), makeValue('w', 'float32', [2])],
      outputs: [makeValue('y', 'float32')],
      nodes: [makeNode('Mul', ['x', 'w'], ['y'])],
      initializers: [makeTensor('w', 'float32', [2], Float32Array.of(2, 3))],
    });
    const next = upgradeOpset(model, 21).model;
    expect(next.graph.input.map((i) => i.name)).toEqual(['x']);
    expect(toNumber(next.proto.ir_version)).toBe(10);
    expect((await runModel(next, { x: floats(Float32Array.of(1, 1), [2]) })).y?.data).toEqual(Float32Array.of(2, 3));
  });

  it('converts the bodies of If and Loop', async () => {
    const graphAttribute = (name: string, g: GraphProto) => AttributeCodec.create({ name, type: 5, g });
    const branch = (name: string, nodes: NodeProto[]) =>
      graphAttribute(name, GraphCodec.create({ name, node: nodes, output: [makeValue(`${name}_out`, 'float32')] }));
    const node = NodeCodec.create({
      op_type: 'If',
      name: 'choose',
      input: ['c'],
      output: ['y'],
      attribute: [
        branch('then_branch', [
          makeNode('Clip', ['x'], ['k'], { min: { float: 0 } }),
          makeNode('Softmax', ['k'], ['then_branch_out']),
        ]),
        branch('else_branch', [
          makeNode('Unsqueeze', ['x'], ['u'], { axes: [0] }),
          makeNode('ReduceSum', ['u'], ['else_branch_out'], { axes: [0], keepdims: 0 }),
        ]),
      ],
    });
    const model = makeModel({
      opset: 10,
      ir: 6,
      inputs: [makeValue('c', 'bool', []), makeValue('x', 'float32', [2, 3, 2])],
      outputs: [makeValue('y', 'float32')],
      nodes: [node],
    });
    for (const c of [0, 1])
      await expectSame(model, { c: { type: 'bool', dims: [], data: Uint8Array.of(c) }, x: x(2, 3, 2) });

    const body = GraphCodec.create({
      name: 'body',
      node: [
        makeNode('Identity', ['go'], ['on']),
        makeNode('Clip', ['state'], ['next'], { max: { float: 0.5 } }),
        makeNode('Unsqueeze', ['next'], ['scan'], { axes: [0] }),
      ],
      initializer: [],
      input: [makeValue('i', 'int64', []), makeValue('go', 'bool', []), makeValue('state', 'float32', [4])],
      output: [makeValue('on', 'bool'), makeValue('next', 'float32'), makeValue('scan', 'float32')],
    });
    const loop = NodeCodec.create({
      op_type: 'Loop',
      name: 'loop',
      input: ['n', '', 'x'],
      output: ['last', 'all'],
      attribute: [graphAttribute('body', body)],
    });
    const looped = makeModel({
      opset: 10,
      ir: 6,
      inputs: [makeValue('n', 'int64', []), makeValue('x', 'float32', [4])],
      outputs: [makeValue('last', 'float32'), makeValue('all', 'float32')],
      nodes: [loop],
    });
    await expectSame(looped, { n: { type: 'int64', dims: [], data: BigInt64Array.of(2n) }, x: x(4) });
  });

  it('leaves nodes of other domains alone, and takes models without standard operators', () => {
    const parts: ModelParts = {
      opset: 11,
      inputs: [makeValue('x', 'float32', [2])],
      outputs: [makeValue('y', 'float32')],
      nodes: [makeNode('Clip', ['x'], ['y'], { min: { float: 0 } }, { domain: 'com.microsoft' })],
      domains: { 'com.microsoft': 1 },
    };
    const next = upgradeOpset(makeModel(parts), 21).model;
    expect(next.graph.node[0]?.attribute).toHaveLength(1);
    expect(opset(next, 'com.microsoft')).toBe(1);
  });

  it('raises local functions, and refuses those it would have to rewrite', () => {
    const withFunction = (node: NodeProto): Model => {
      const base = makeModel({
        opset: 12,
        inputs: [makeValue('x', 'float32', [2])],
        outputs: [makeValue('y', 'float32')],
        nodes: [makeNode('Own', ['x'], ['y'], {}, { domain: 'local' })],
        domains: { local: 1 },
      });
      const f = FunctionCodec.create({
        name: 'Own',
        domain: 'local',
        input: ['a'],
        output: ['b'],
        node: [node],
        opset_import: base.proto.opset_import,
      });
      return modelOf(ModelCodec.amend(base.proto, { functions: [f] }));
    };
    const next = upgradeOpset(withFunction(makeNode('Relu', ['a'], ['b'])), 17).model;
    expect(toNumber(next.proto.functions[0]?.opset_import[0]?.version ?? 0)).toBe(17);
    expect(() => upgradeOpset(withFunction(makeNode('Softmax', ['a'], ['b'])), 17)).toThrow('local function "Own"');
  });

  it('refuses, naming the operator and why', () => {
    const feeds = { x: x(1, 1, 4, 4) };
    const refusal = (c: Omit<Case, 'feeds'>) => () => upgradeOpset(single({ feeds, ...c }), 21);
    expect(refusal({ op: 'Nonsense', opset: 12 })).toThrow('Nonsense is no operator of opset 12');
    expect(refusal({ op: 'Gelu', opset: 12 })).toThrow('Gelu is no operator of opset 12');
    expect(refusal({ op: 'Scan', opset: 8 })).toThrow('Scan cannot go from opset 8 to 21: its batch axis');
    expect(refusal({ op: 'BatchNormalization', opset: 8, attributes: { spatial: 0 } })).toThrow('spatial = 0');
    expect(refusal({ op: 'Resize', opset: 10, constants: { s: float(1, 1, 2, 0.5) } })).toThrow('enlarges one axis');
    expect(() => upgradeOpset(single({ op: 'Resize', opset: 10, feeds: { ...feeds, s: x(4) } }), 13)).toThrow(
      'scales are computed',
    );
    expect(
      refusal({
        op: 'Resize',
        opset: 12,
        attributes: { coordinate_transformation_mode: 'tf_half_pixel_for_nn', nearest_mode: 'ceil' },
      }),
    ).toThrow('tf_half_pixel_for_nn');
    const masked: (readonly [string, DType])[] = [
      ['y', 'float32'],
      ['mask', 'float32'],
    ];
    expect(refusal({ op: 'Dropout', opset: 7, outputs: masked })).toThrow('its mask is read');
    expect(refusal({ op: 'Relu', opset: 6 })).toThrow('cannot convert opset 6');
    expect(() => upgradeOpset(single({ op: 'Relu', opset: 13, feeds }), 27)).toThrow('cannot convert opset 13 to 27');
    expect(refusal({ op: 'GlobalLpPool', opset: 12 })).not.toThrow();
    expect(() => upgradeOpset(single({ op: 'GlobalLpPool', opset: 12, feeds }), 22)).toThrow('has no kernel');
    const untyped = makeModel({
      opset: 10,
      inputs: [makeValue('x', 'float64', [2])],
      outputs: [makeValue('y', 'float64')],
      nodes: [makeNode('Abs', ['x'], ['a']), makeNode('Clip', ['a'], ['y'], { min: { float: 0 } }, { name: 'clip' })],
    });
    expect(() => upgradeOpset(untyped, 13)).toThrow('the element type of "a" is not known');
  });

  // onnxruntime still takes the removed mode and empty tensors, so running cannot tell.
  it('writes Resize without what opset 13 removed', () => {
    for (const c of cases.filter((c) => c.op === 'Resize' && c.opset === 11)) {
      const resize = upgradeOpset(single(c), 13).model.graph.node[0] as NodeProto;
      expect(stringAttribute(resize, 'coordinate_transformation_mode', '')).toMatch(/half_pixel|align_corners/);
      expect(stringAttribute(resize, 'coordinate_transformation_mode', '')).not.toMatch('tf_');
      expect(resize.input[1]).toBe('');
    }
  });

  it('drops outputs that nothing reads where their meaning changed, and refuses where something does', () => {
    const node = (op: string, output: string[], extra: string[] = []) =>
      makeModel({
        opset: 9,
        inputs: ['x', ...extra].map((name) => makeValue(name, 'float32', [1])),
        outputs: [makeValue('y', 'float32')],
        nodes: [makeNode(op, ['x', ...extra], output)],
      });
    expect(upgradeOpset(node('Dropout', ['y', 'mask']), 13).model.graph.node[0]?.output).toEqual(['y']);
    const stats = ['s', 'b', 'm', 'v'];
    expect(upgradeOpset(node('BatchNormalization', ['y', ''], stats), 14).model.graph.node[0]?.output).toEqual(['y']);
    expect(() => upgradeOpset(node('BatchNormalization', ['y', 'mean'], stats), 14)).toThrow('training mode');
  });

  it('notes that negative OneHot indices changed their meaning', () => {
    const { notes } = upgradeOpset(single(cases.find((c) => c.op === 'OneHot') as Case), 13);
    expect(notes[0]?.text).toContain('negative indices');
  });
});

describe('firstVersions', () => {
  it('knows every operator that an adapter is for, since before its first change', () => {
    for (const [op, adapters] of Object.entries(breaking))
      expect(firstVersions.get(op)).toBeLessThan(Math.min(...Object.keys(adapters).map(Number)));
  });

  // Rows of https://github.com/onnx/onnx/blob/main/docs/Operators.md, read by eye.
  it.each([
    ['Conv', 1],
    ['Softmax', 1],
    ['QuantizeLinear', 10],
    ['MatMul', 1],
    ['Resize', 10],
    ['GroupNormalization', 18],
  ])('%s', (op, version) => {
    expect(firstVersions.get(op)).toBe(version);
  });
});
