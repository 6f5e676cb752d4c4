import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { checkModel } from '../../src/graph/check.ts';
import { modelOf } from '../../src/graph/model.ts';
import { AttributeCodec, GraphCodec } from '../../src/graph/proto.ts';
import { smallConvNet, weight } from '../helpers/models.ts';

const twice = [weight('w', [4], 1), weight('w', [4], 2)];

describe('checkModel', () => {
  it('takes a healthy model', () => {
    expect(() => checkModel(smallConvNet())).not.toThrow();
  });

  it('refuses two initializers of one name, of which onnxruntime takes now the first, now the last', () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', [4])],
      outputs: [makeValue('y', 'float32', [4])],
      nodes: [makeNode('Add', ['x', 'w'], ['y'])],
      initializers: twice,
    });
    expect(() => checkModel(model)).toThrow('two initializers are called "w"');
  });

  it('refuses an initializer without a name, which no input can mean', () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', ['N', 4])],
      outputs: [makeValue('y', 'float32', ['N', 4])],
      nodes: [makeNode('MatMul', ['x', ''], ['y'])],
      initializers: [weight('', [4, 4], 1)],
    });
    expect(() => checkModel(model)).toThrow('an initializer of shape [4, 4] has no name');
  });

  it('refuses sparse initializers', () => {
    const { proto, graph } = smallConvNet();
    const values = weight('w', [4], 1);
    const sparse = modelOf({ ...proto, graph: { ...graph, sparse_initializer: [{ values, dims: values.dims }] } });
    expect(() => checkModel(sparse)).toThrow('the initializer "w" is a sparse');
  });

  it('refuses a value that no object of JavaScript can hold', () => {
    const model = makeModel({
      inputs: [makeValue('x', 'float32', [4])],
      outputs: [makeValue('y', 'float32', [4])],
      nodes: [makeNode('Neg', ['x'], ['__proto__']), makeNode('Neg', ['__proto__'], ['y'])],
    });
    expect(() => checkModel(model)).toThrow('a value is called "__proto__"');
  });

  it('refuses them in a body too', () => {
    const body = (name: string) =>
      GraphCodec.create({
        name,
        node: [makeNode('Neg', ['w'], [`${name}_y`])],
        initializer: twice,
        output: [makeValue(`${name}_y`, 'float32', [4])],
      });
    const choose = makeNode('If', ['c'], ['y'], {}, { name: 'choose' });
    choose.attribute = ['then_branch', 'else_branch'].map((name) =>
      AttributeCodec.create({ name, type: 5, g: body(name) }),
    );
    const model = makeModel({
      inputs: [makeValue('c', 'bool', [])],
      outputs: [makeValue('y', 'float32', [4])],
      nodes: [choose],
    });
    expect(() => checkModel(model)).toThrow('two initializers are called "w"');
  });
});
