import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { mapByOrder, networkOrder } from '../../src/graph/name_order.ts';
import { modulePath } from '../../src/graph/module_path.ts';
import { assignNames, layerFacts, resolveNames, suggestSelector } from '../../src/graph/names.ts';
import type { LayerFact } from '../../src/graph/names.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { smallConvNet, weight } from '../helpers/models.ts';

/** A ResNet as PyTorch's exporter names it once batch-norm is folded: weights renamed, nodes named by module. */
export function resnetFacts(): LayerFact[] {
  const rows: [string, string, string[]][] = [['/conv1/Conv', 'Conv', ['onnx::Conv_274']]];
  rows.push(['/Relu', 'Relu', []]);
  for (const layer of [1, 2])
    for (const block of [0, 1]) {
      const at = `/layer${layer}/layer${layer}.${block}`;
      rows.push([`${at}/conv1/Conv`, 'Conv', [`onnx::Conv_${layer}${block}1`]], [`${at}/Relu`, 'Relu', []]);
      rows.push([`${at}/conv2/Conv`, 'Conv', [`onnx::Conv_${layer}${block}2`]], [`${at}/Add`, 'Add', []]);
    }
  rows.push(['/linear/Gemm', 'Gemm', ['linear.weight']]);
  return rows.map(([node, opType, weights], index) => ({ node, opType, weights, module: modulePath(node), index }));
}

const nodesOf = (selector: string, over: 'weights' | 'layers' = 'weights', layers = resnetFacts()): string[] =>
  resolveNames([selector], layers, over)
    .matches.get(selector)!
    .map((match) => match.layer.node);

describe('the module path in a node name', () => {
  // Names as torch.onnx.export wrote them for torchvision, YOLO and CIFAR models.
  it.each([
    ['/conv1/Conv', 'conv1'],
    ['/layer1/layer1.0/conv1/Conv', 'layer1.0.conv1'],
    ['/layer2/layer2.0/downsample/downsample.0/Conv', 'layer2.0.downsample.0'],
    ['/features/features.1/conv/conv.0/conv.0.0/Conv', 'features.1.conv.0.0'],
    ['/model.2/m.0/cv1/conv/Conv', 'model.2.m.0.cv1.conv'],
    ['/layer1/layer1.0/Relu_1', 'layer1.0'],
    ['/Relu', undefined],
    ['Conv_12', undefined],
    ['model/dense/MatMul', undefined],
  ])('%s', (node, path) => {
    expect(modulePath(node)).toBe(path);
  });
});

describe('a name finds its layer', () => {
  const conv1 = '/layer1/layer1.0/conv1/Conv';
  it.each([
    ["by the node's name", conv1, conv1],
    ["by the weight's name", 'onnx::Conv_101', conv1],
    ["by PyTorch's parameter name", 'layer1.0.conv1.weight', conv1],
    ["by PyTorch's module name", 'layer1.0.conv1', conv1],
    ['with the prefix of DataParallel', 'module.layer1.0.conv1.weight', conv1],
    ['with the prefix inside', 'layer1.module.0.conv1.weight', conv1],
    ['where the weight kept its name', 'module.linear.weight', '/linear/Gemm'],
    ['by a regular expression', '/layer1.0.conv1$/', conv1],
    ['by a regular expression with module.', '/^module\\.layer1\\.0\\.conv1\\.weight$/', conv1],
  ])('%s', (_, selector, node) => {
    expect(nodesOf(selector)).toEqual([node]);
  });

  it('globs reach across dots and slashes', () => {
    expect(nodesOf('layer*.conv*')).toHaveLength(8);
    expect(nodesOf('module.layer2.*')).toHaveLength(4);
    expect(nodesOf('*')).toHaveLength(10);
    expect(nodesOf('/layer1/*')).toHaveLength(4);
    expect(nodesOf('layer3.*')).toEqual([]);
  });

  it("reads Distiller's overrides as the regular expressions they are", () => {
    expect(nodesOf('layer[12]\\.0\\.conv1', 'layers')).toHaveLength(2);
    expect(nodesOf('.*conv2', 'layers')).toHaveLength(4);
    expect(resolveNames(['.*conv2'], resnetFacts()).notes).toEqual([
      '".*conv2" matches nothing as a glob; read as the regular expression it is',
    ]);
  });

  it('says what a translated name turned out to be, and nothing where it is the name', () => {
    expect(resolveNames(['module.layer1.0.conv1.weight'], resnetFacts()).notes).toEqual([
      `module.layer1.0.conv1.weight is onnx::Conv_101 of ${conv1}`,
    ]);
    expect(resolveNames(['linear.weight', conv1, 'layer*'], resnetFacts()).notes).toEqual([]);
  });

  it('leaves out nodes without weights where weights are meant, and functional calls where a block is named', () => {
    expect(nodesOf('/Relu')).toEqual([]);
    expect(nodesOf('/Relu', 'layers')).toEqual(['/Relu']);
    expect(nodesOf('layer1.0', 'layers')).toEqual([]);
    expect(suggestSelector('layer1.0', resnetFacts(), 'layers')).toBe(' (did you mean "layer1.0.*"?)');
    expect(suggestSelector('module.layer1.0.cnov1.weight', resnetFacts(), 'weights')).toBe(
      ' (did you mean "layer1.0.conv1.weight"?)',
    );
  });

  it('by the type of its operator', () => {
    expect(nodesOf('op:Gemm')).toEqual(['/linear/Gemm']);
    expect(nodesOf('op:*', 'layers')).toHaveLength(resnetFacts().length);
    expect(nodesOf('op:Conv?')).toEqual([]);
  });

  it("calls the one fully connected layer what Distiller's models call it, and says so", () => {
    expect(resolveNames(['module.fc.weight'], resnetFacts())).toMatchObject({
      notes: ['module.fc.weight is linear.weight of /linear/Gemm'],
    });
    const two = [...resnetFacts(), { node: 'fc2', opType: 'Gemm', weights: ['w'], index: 99 }];
    expect(nodesOf('fc', 'weights', two)).toEqual([]);
  });

  it('takes one of several weights where it is named', () => {
    const gru: LayerFact = { node: '/gru/GRU', opType: 'GRU', weights: ['W', 'R'], module: 'gru', index: 0 };
    const weights = (selector: string): readonly string[] | undefined =>
      resolveNames([selector], [gru]).matches.get(selector)?.[0]?.weights;
    expect(weights('R')).toEqual(['R']);
    expect(weights('gru.weight_ih_l0')).toEqual(['W']);
    expect(weights('gru')).toEqual(['W', 'R']);
  });
});

describe('ordered selectors', () => {
  it('give each layer to the first that matches, a bare star last', () => {
    const { nodes, weights } = assignNames(['*', 'layer1.0.*', 'layer1.*', 'linear'], resnetFacts());
    expect(nodes.get('/layer1/layer1.0/conv2/Conv')).toBe('layer1.0.*');
    expect(nodes.get('/layer1/layer1.1/conv2/Conv')).toBe('layer1.*');
    expect(nodes.get('/conv1/Conv')).toBe('*');
    expect(weights.get('linear.weight')).toBe('linear');
    expect(nodes.has('/Relu')).toBe(false);
  });
});

describe('what a model offers to selectors', () => {
  it('is its nodes with their weights of rank 2 and more', () => {
    expect(layerFacts(smallConvNet()).map(({ node, weights, module }) => [node, weights, module])).toEqual([
      ['conv1', ['conv1.weight'], 'conv1'],
      ['relu1', [], undefined],
      ['conv2', ['conv2.weight'], 'conv2'],
      ['add', [], undefined],
      ['relu2', [], undefined],
      ['dw', ['dw.weight'], 'dw'],
      ['relu3', [], undefined],
      ['pool', [], undefined],
      ['flatten', [], undefined],
      ['fc', ['fc.weight'], 'fc'],
    ]);
  });

  it('follows a weight through what carries it, and no further', () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 4]), makeValue('i', 'int64', ['N'])],
      outputs: [makeValue('y', 'float32')],
      initializers: [
        weight('P', [2, 2, 3], 1),
        makeTensor('shape', 'int64', [2], BigInt64Array.from([4n, 3n])),
        makeTensor('table', 'int64', [2, 2], BigInt64Array.from([1n, 2n, 3n, 4n])),
        makeTensor('q', 'int8', [3, 3], new Int8Array(9)),
        makeTensor('s', 'float32', [], Float32Array.of(0.1)),
      ],
      nodes: [
        makeNode('Reshape', ['P', 'shape'], ['w'], {}, { name: 'reshape' }),
        makeNode('MatMul', ['x', 'w'], ['a'], {}, { name: 'fc1' }),
        makeNode('Gather', ['table', 'i'], ['g'], {}, { name: 'lookup' }),
        makeNode('DequantizeLinear', ['q', 's'], ['d'], {}, { name: 'dq' }),
        makeNode('MatMul', ['a', 'd'], ['b'], {}, { name: 'fc2' }),
        makeNode('MatMul', ['b', 'b'], ['y'], {}, { name: 'self' }),
      ],
    });
    const found = layerFacts(model).filter((layer) => layer.weights.length > 0);
    expect(found.map(({ node, weights }) => [node, weights])).toEqual([
      ['fc1', ['P']],
      ['fc2', ['q']],
    ]);
  });

  it('knows the weights of every operator that multiplies by them, in the order of its inputs', () => {
    const dims = { w: [2, 3, 3, 3], o: [1, 18, 4, 4], a: [5, 4], b: [4, 5], e: [4, 6] };
    const model = makeModel({
      inputs: [makeValue('x', 'float32', [1, 3, 6, 6]), makeValue('v', 'float32', [2, 4])],
      outputs: [makeValue('y', 'float32')],
      initializers: Object.entries(dims).map(([name, size]) => weight(name, size, 1)),
      nodes: [
        makeNode('DeformConv', ['x', 'w', 'o'], ['d'], {}, { name: 'deform' }),
        makeNode('Einsum', ['v', 'e'], ['y'], { equation: 'ij,jk->ik' }, { name: 'einsum' }),
        makeNode('Gemm', ['a', 'b'], ['g'], {}, { name: 'gemm' }),
      ],
    });
    expect(layerFacts(model).map(({ node, weights }) => [node, weights])).toEqual([
      ['deform', ['w']],
      ['einsum', ['e']],
      ['gemm', ['a', 'b']],
    ]);
  });

  it("knows the modules that PyTorch's new exporter writes beside each node", () => {
    const model = smallConvNet();
    const node = model.graph.node[1]!;
    const scoped = { ...node, metadata_props: [{ key: 'pkg.torch.onnx.name_scopes', value: "['', 'layer1', 'layer1.0', 'relu']" }] }; // prettier-ignore
    const graph = { ...model.graph, node: [scoped] };
    expect(layerFacts({ ...model, graph })[0]?.module).toBe('layer1.0');
  });
});

describe('names by order', () => {
  const weighted = (count: number): LayerFact[] =>
    Array.from({ length: count }, (_, index) => ({ node: `Conv_${index}`, opType: 'Conv', weights: [`w${index}`], index })); // prettier-ignore

  it('come in the order of the network, in whatever order the schedule has them', () => {
    const network = ['conv1', 'layer1.0.conv1', 'layer1.0.conv2', 'layer1.10.conv1', 'layer2.0.conv1', 'fc'].map((name) => `module.${name}.weight`); // prettier-ignore
    for (const order of [
      [0, 1, 2, 3, 4, 5],
      [5, 4, 3, 2, 1, 0],
      [3, 1, 5, 0, 4, 2],
    ])
      // prettier-ignore
      expect(networkOrder(order.map((i) => network[i]!))).toEqual(network);
    expect(networkOrder(['features.0', 'features.3', 'classifier.1'])).toEqual(['features.0', 'features.3', 'classifier.1']); // prettier-ignore
  });

  it('are matched only where there are as many layers', () => {
    const result = mapByOrder(['fc', 'conv1'], weighted(2));
    expect('mapping' in result && [...result.mapping].map(([name, { node }]) => [name, node])).toEqual([
      ['conv1', 'Conv_0'],
      ['fc', 'Conv_1'],
    ]);
    expect(mapByOrder(['fc', 'conv1'], weighted(3))).toEqual({
      refused: "the file's names say nothing of it, and 2 names for 3 layers cannot be matched by order",
    });
  });
});
