import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { edit, removeUnread } from '../../src/graph/edit.ts';
import { decodeModel, encodeModel } from '../../src/graph/model.ts';
import { GraphCodec, NodeCodec, toNumber, type NodeProto } from '../../src/graph/proto.ts';
import { captured, consumers, initializers, producers, reads } from '../../src/graph/query.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { makeAttribute } from '../../src/graph/attribute.ts';
import { noise, smallConvNet, weight } from '../helpers/models.ts';
import { runBare, tensor } from '../helpers/ort.ts';

const byName = (nodes: readonly NodeProto[], name: string) => nodes.find((n) => n.name === name) as NodeProto;
const feeds = { x: tensor(noise(9, 2 * 3 * 64), [2, 3, 8, 8]) };

describe('edit', () => {
  it('leaves the given model as it was and shares its tensors', () => {
    const model = smallConvNet();
    const before = encodeModel(model);
    const next = edit(model, (draft) => {
      draft.replace('fc.bias', weight('fc.bias', [5], 99));
      draft.update(byName(draft.nodes(), 'conv1'), { name: 'renamed' });
    });
    expect(encodeModel(model)).toEqual(before);
    expect(initializers(next.graph).get('conv1.weight')).toBe(initializers(model.graph).get('conv1.weight'));
    expect(next.graph.node[0]?.name).toBe('renamed');
  });

  it('sorts added nodes before their readers, and onnxruntime computes the same', async () => {
    const model = smallConvNet();
    const next = edit(model, (draft) => {
      draft.rewire('r1', 'r1_copy');
      draft.addNode(makeNode('Identity', ['r1'], ['r1_copy']));
    });
    expect(next.graph.node.map((n) => n.op_type).slice(0, 3)).toEqual(['Conv', 'Relu', 'Identity']);
    expect((await runBare(next, feeds)).y).toEqual((await runBare(model, feeds)).y);
  });

  it('follows a node through several updates', () => {
    const next = edit(smallConvNet(), (draft) => {
      const conv = byName(draft.nodes(), 'conv1');
      draft.update(conv, { name: 'a' });
      draft.setAttribute(conv, 'pads', [0, 0, 0, 0]);
      draft.setAttribute(conv, 'kernel_shape', undefined);
      draft.update(conv, { doc_string: 'twice' });
    });
    expect(next.graph.node[0]).toMatchObject({ name: 'a', doc_string: 'twice' });
    expect(next.graph.node[0]?.attribute.map((a) => a.name)).toEqual(['pads']);
  });

  it('refuses to leave a reader without its value, and names it', () => {
    expect(() => edit(smallConvNet(), (d) => d.removeNode(byName(d.nodes(), 'relu1')))).toThrow(
      'Conv reads "r1", which nothing would produce any more',
    );
    expect(() => edit(smallConvNet(), (d) => d.removeNode(byName(d.nodes(), 'fc')))).toThrow(
      'graph output "y" would no longer be produced',
    );
    expect(() => edit(smallConvNet(), (d) => d.removeInitializer('fc.bias'))).toThrow('Gemm reads "fc.bias"');
  });

  it('refuses a value produced twice and a cycle', () => {
    expect(() => edit(smallConvNet(), (d) => d.addNode(makeNode('Identity', ['x'], ['r1'])))).toThrow(
      'value "r1" would be produced twice',
    );
    expect(() =>
      edit(smallConvNet(), (d) => d.update(byName(d.nodes(), 'conv1'), { input: ['r2', 'conv1.weight'] })),
    ).toThrow('cycle');
  });

  it('drops initializers and shape notes that nothing reads any more, and only those', () => {
    const base = smallConvNet();
    const idle = edit(base, (d) => void d.add('idle', makeTensor('', 'float32', [1], Float32Array.of(1))));
    expect(initializers(idle.graph).has('idle')).toBe(false);
    const next = edit(base, (d) => d.update(byName(d.nodes(), 'fc'), { input: ['f', 'fc.weight'] }));
    expect(initializers(next.graph).has('fc.bias')).toBe(false);
    expect(initializers(next.graph).size).toBe(7);
  });

  it('keeps unknown fields of nodes it changes', () => {
    // Field 99 (varint 7) is none of the schema's: wire bytes 0x98 0x06 0x07.
    const bytes = new Uint8Array([
      ...NodeCodec.encode(makeNode('Relu', ['x'], ['y'], {}, { name: 'r' })),
      0x98,
      0x06,
      0x07,
    ]);
    const model = makeModel({
      inputs: [makeValue('x', 'float32', [1])],
      outputs: [makeValue('y', 'float32', [1])],
      nodes: [NodeCodec.decode(bytes)],
    });
    const next = edit(model, (d) => d.update(d.nodes()[0] as NodeProto, { name: 'changed' }));
    const encoded = Buffer.from(NodeCodec.encode(next.graph.node[0] as NodeProto));
    expect(encoded.includes(Buffer.from([0x98, 0x06, 0x07]))).toBe(true);
  });

  it('makes constants of an IR 3 model, whose initializers are inputs', () => {
    const model = makeModel({
      ir: 3,
      opset: 8,
      inputs: [makeValue('x', 'float32', [2]), makeValue('w', 'float32', [2])],
      outputs: [makeValue('y', 'float32', [2])],
      nodes: [makeNode('Mul', ['x', 'w'], ['y'])],
      initializers: [makeTensor('w', 'float32', [2], Float32Array.of(1, 2))],
    });
    const next = edit(model, (d) => expect(d.freezeInputs()).toEqual(['w']));
    expect(next.graph.input.map((i) => i.name)).toEqual(['x']);
    expect(toNumber(next.proto.ir_version)).toBe(4);
  });

  it('removes what nothing reads, and constants with it', () => {
    const model = edit(smallConvNet(), (draft) => {
      draft.rewire('p', 'r3', (node) => node.op_type === 'Flatten');
      draft.update(byName(draft.nodes(), 'fc'), { op_type: 'Identity', input: ['r3'], attribute: [] });
      removeUnread(draft, new Set(['y']));
    });
    expect(model.graph.node.map((n) => n.op_type)).toEqual([
      'Conv',
      'Relu',
      'Conv',
      'Add',
      'Relu',
      'Conv',
      'Relu',
      'Identity',
    ]);
  });
});

describe('query', () => {
  it('finds what subgraphs capture, and refuses to rewire it', () => {
    const body = GraphCodec.create({
      name: 'body',
      node: [makeNode('Add', ['outer', 'inner'], ['s']), makeNode('Relu', ['s'], ['o'])],
      input: [],
      output: [makeValue('o', 'float32')],
      initializer: [makeTensor('inner', 'float32', [1], Float32Array.of(1))],
    });
    expect([...captured(body)]).toEqual(['outer']);
    const branch = { ...makeAttribute('then_branch', 0), type: 5, g: body };
    const node = NodeCodec.create({ op_type: 'If', name: 'if', input: ['c'], output: ['y'], attribute: [branch] });
    expect([...reads(node)]).toEqual(['c', 'outer']);
    const model = makeModel({
      inputs: [makeValue('c', 'bool', []), makeValue('x', 'float32', [1])],
      outputs: [makeValue('y', 'float32')],
      nodes: [makeNode('Relu', ['x'], ['outer']), node],
    });
    expect(
      consumers(model.graph)
        .get('outer')
        ?.map((n) => n.name),
    ).toEqual(['if']);
    expect(() => edit(model, (d) => d.rewire('outer', 'x'))).toThrow(/subgraph of If captures it/);
    expect(() => edit(model, (d) => d.removeNode(d.nodes()[0] as NodeProto))).toThrow('If reads "outer"');
    expect(producers(model.graph).get('outer')?.op_type).toBe('Relu');
  });
});

describe('decodeModel', () => {
  it('says what a file is that is no model', () => {
    const bytes = encodeModel(smallConvNet());
    expect(() => decodeModel(new Uint8Array(0))).toThrow('the file is empty');
    expect(() => decodeModel(new TextEncoder().encode('hello: world\n'))).toThrow('text file');
    expect(() => decodeModel(Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 1, 2, 3, 0))).toThrow('not an ONNX model');
    for (const share of [0.1, 0.5, 0.9, 0.999])
      expect(() => decodeModel(bytes.subarray(0, Math.floor(bytes.length * share)))).toThrow('truncated or damaged');
  });
});
