import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { edit, removeUnread, type Draft } from '../../src/graph/edit.ts';
import { encodeModel, modelOf, type Model } from '../../src/graph/model.ts';
import { GraphCodec, ModelCodec, NodeCodec, toNumber, type NodeProto } from '../../src/graph/proto.ts';
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

  it.each<[string, (draft: Draft, node: (name: string) => NodeProto) => void, string, string | undefined, string]>([
    [
      'a reader without its value',
      (d, node) => d.removeNode(node('relu1')),
      'Conv reads "r1", which nothing would produce any more',
      'rewire or remove the reader first',
      'conv2',
    ],
    [
      'a reader without its constant',
      (d) => d.removeInitializer('fc.bias'),
      'Gemm reads "fc.bias", which nothing would produce any more',
      'rewire or remove the reader first',
      'fc',
    ],
    [
      'an output that nothing produces',
      (d, node) => d.removeNode(node('fc')),
      'graph output "y" would no longer be produced',
      undefined,
      'y',
    ],
    [
      'a value that two nodes produce',
      (d) => d.addNode(makeNode('Identity', ['x'], ['r1'], {}, { name: 'second' })),
      'value "r1" would be produced twice',
      undefined,
      'second',
    ],
    [
      'a value that is a constant too',
      (d) => d.addNode(makeNode('Identity', ['x'], ['fc.bias'], {}, { name: 'second' })),
      'value "fc.bias" would be produced twice',
      undefined,
      'second',
    ],
    [
      'a cycle',
      (d, node) => d.update(node('conv1'), { input: ['r1', 'conv1.weight'] }),
      'the edit would make a cycle',
      undefined,
      'conv1',
    ],
  ])('refuses to leave %s, and says where', (_, change, message, hint, at) => {
    const broken = () => edit(smallConvNet(), (draft) => change(draft, (name) => byName(draft.nodes(), name)));
    expect(broken).toThrow(expect.objectContaining({ code: 'graph', message, at, hint }) as Error);
  });

  it('puts several nodes that one reads in the order in which it reads them', () => {
    const next = edit(smallConvNet(), (draft) => {
      for (const name of ['second', 'first']) draft.addNode(makeNode('Identity', ['x'], [name], {}, { name }));
      draft.addNode(makeNode('Sum', ['first', 'second', 'first'], ['sum'], {}, { name: 'sum' }));
      draft.update(byName(draft.nodes(), 'conv1'), { input: ['sum', 'conv1.weight', 'conv1.bias'] });
    });
    expect(next.graph.node.slice(0, 4).map(({ name }) => name)).toEqual(['first', 'second', 'sum', 'conv1']);
  });

  it('lets many nodes leave their optional outputs out', () => {
    const next = edit(smallConvNet(), (draft) => {
      for (const name of ['relu1', 'relu2']) {
        const { output } = byName(draft.nodes(), name);
        draft.update(byName(draft.nodes(), name), { op_type: 'Dropout', output: [...output, ''] });
      }
    });
    expect(next.graph.node.filter(({ output }) => output.includes(''))).toHaveLength(2);
  });

  it('drops initializers and shape notes that nothing reads any more, and only those', () => {
    const base = smallConvNet();
    const idle = edit(base, (d) => void d.add('idle', makeTensor('', 'float32', [1], Float32Array.of(1))));
    expect(initializers(idle.graph).has('idle')).toBe(false);
    const next = edit(base, (d) => d.update(byName(d.nodes(), 'fc'), { input: ['f', 'fc.weight'] }));
    expect(initializers(next.graph).has('fc.bias')).toBe(false);
    expect(initializers(next.graph).size).toBe(7);
  });

  it('keeps what it found unread, and drops what it left unread with its notes and its place among the inputs', () => {
    const value = (name: string) => makeValue(name, 'float32', [1]);
    const stored = (name: string) => makeTensor(name, 'float32', [1], Float32Array.of(1));
    const { proto, graph } = makeModel({
      inputs: ['x', 'idle', 'w', 'unread'].map(value),
      outputs: ['y', 'constant'].map(value),
      nodes: [makeNode('Mul', ['x', 'w'], ['r'], {}, { name: 'mul' }), makeNode('Relu', ['r'], ['y'])],
      initializers: ['idle', 'w', 'unread', 'constant'].map(stored),
    });
    const names = ['r', 'y', 'w', 'unread', 'gone'];
    const quantization_annotation = names.map((name) => ({ tensor_name: name, quant_parameter_tensor_names: [] }));
    const value_info = ['r', 'y', 'gone'].map(value);
    const model = modelOf(
      ModelCodec.amend(proto, { graph: GraphCodec.amend(graph, { quantization_annotation, value_info }) }),
    );
    const look = ({ graph: { initializer, input, value_info, quantization_annotation } }: Model) => [
      initializer.map(({ name }) => name),
      input.map(({ name }) => name),
      value_info.map(({ name }) => name),
      quantization_annotation.map(({ tensor_name }) => tensor_name),
    ];
    // Notes on what there is not go always.
    expect(look(edit(model, () => undefined))).toEqual([
      ['idle', 'w', 'unread', 'constant'],
      ['x', 'idle', 'w', 'unread'],
      ['r', 'y'],
      ['r', 'y', 'w', 'unread'],
    ]);
    const next = edit(model, (draft) => {
      draft.update(draft.nodes()[1]!, { input: ['x'] });
      draft.removeNode(draft.nodes()[0]!);
      draft.setOutputs([value('y')]);
    });
    expect(look(next)).toEqual([['idle', 'unread'], ['x', 'idle', 'unread'], ['y'], ['y', 'unread']]);
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

  it('removes what nothing reads: nodes of which no output is read, but draws of random numbers', () => {
    const value = (name: string) => makeValue(name, 'float32', [2]);
    const random = ['RandomNormal', 'RandomUniform'].map((op) => makeNode(op, [], [op], { shape: [2] }, { name: op }));
    const halves = makeNode('Split', ['x'], ['read', 'unread'], { num_outputs: 2 }, { name: 'split' });
    const model = makeModel({
      inputs: [value('x')],
      outputs: [value('y')],
      nodes: [...random, halves, makeNode('Neg', ['read'], ['y'], {}, { name: 'neg' }), makeNode('Abs', ['x'], ['a'])],
    });
    const next = edit(model, (draft) => removeUnread(draft, new Set(['y'])));
    expect(next.graph.node.map(({ name }) => name)).toEqual(['RandomNormal', 'RandomUniform', 'split', 'neg']);
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
