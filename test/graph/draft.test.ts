import { bytesOf } from '../../src/graph/bytes.ts';
import { makeModel, makeNode, makeValue, type ModelParts } from '../../src/graph/build.ts';
import { edit, type Draft } from '../../src/graph/edit.ts';
import { decodeModel, encodeModel, modelOf, type Model } from '../../src/graph/model.ts';
import { GraphCodec, ModelCodec, OperatorSetCodec, int64, toNumber } from '../../src/graph/proto.ts';
import { initializers, layerName, opset } from '../../src/graph/query.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { smallConvNet } from '../helpers/models.ts';
import { ifModel } from '../runtime/models.ts';

const one = (name: string, value = 1) => makeTensor(name, 'float32', [1], Float32Array.of(value));

/** x → Relu → r → Neg → y. */
const line = (more: Partial<ModelParts> = {}): Model =>
  makeModel({
    inputs: [makeValue('x', 'float32', [1])],
    outputs: [makeValue('y', 'float32', [1])],
    nodes: [makeNode('Relu', ['x'], ['r'], {}, { name: 'relu' }), makeNode('Neg', ['r'], ['y'], {}, { name: 'neg' })],
    ...more,
  });
/** x → Mul with w → y, where w is listed as an input too. */
const listed = (): Model =>
  line({
    inputs: ['x', 'w'].map((name) => makeValue(name, 'float32', [1])),
    nodes: [makeNode('Mul', ['x', 'w'], ['y'], {}, { name: 'mul' })],
    initializers: [one('w')],
  });
const names = (values: readonly { readonly name: string }[]) => values.map(({ name }) => name);
/** Why an edit is refused. */
const refusal = (model: Model, change: (draft: Draft) => void): unknown => {
  try {
    return edit(model, change);
  } catch (error) {
    return error;
  }
};
const says = (at: string, message: RegExp) => ({
  code: 'graph',
  at,
  message: expect.stringMatching(message) as string,
});

describe('a fresh name', () => {
  // Of the graph and of the bodies of its If: values, nodes, initializers, notes of shapes.
  const body = GraphCodec.create({
    name: 'body',
    input: [makeValue('body_input', 'float32')],
    output: [makeValue('body_output', 'float32')],
    value_info: [makeValue('body_note', 'float32')],
    initializer: [one('body_tensor')],
    node: [makeNode('Abs', ['x'], ['body_output', 'body_value'], {}, { name: 'body_node' })],
  });
  const model = ifModel();
  const [branch] = model.graph.node[0]!.attribute;
  branch!.g = body;
  const known = ['x', 'flag', 'y', 'z', 'one', 'choice', 'z_Add', ...['input', 'output', 'note', 'tensor', 'value', 'node'].map((kind) => `body_${kind}`)]; // prettier-ignore

  it.each(known)('is none that is there: %s', (name) => {
    edit(model, (draft) => {
      const given = [name, name, 'other', 'other'].map((base) => draft.freshName(base));
      expect(given).toEqual([`${name}_1`, `${name}_2`, 'other', 'other_1']);
    });
  });

  const steps: Readonly<Record<string, (draft: Draft) => void>> = {
    'the value of an added node': (draft) => draft.addNode(makeNode('Neg', ['x'], ['new'])),
    'an added node': (draft) => draft.addNode(makeNode('Neg', ['x'], ['of_it'], {}, { name: 'new' })),
    'a value that a node gives from now on': (draft) => draft.update(draft.nodes()[0]!, { output: ['r', 'new'] }),
    'a node of another name': (draft) => draft.update(draft.nodes()[0]!, { name: 'new' }),
    'an added input': (draft) => draft.addInput(makeValue('new', 'float32', [1])),
    'an added constant': (draft) => void draft.add('new', one('')),
  };
  it.each(Object.keys(steps))('is none that came with the edit, asked before or not: %s', (kind) => {
    for (const before of [true, false])
      edit(line(), (draft) => {
        if (before) draft.freshName('anything');
        steps[kind]?.(draft);
        expect(draft.freshName('new')).toBe('new_1');
      });
  });
});

describe('a node in an edit', () => {
  it('is known by any version of itself', () => {
    edit(line(), (draft) => {
      const [first] = draft.nodes() as [ReturnType<Draft['nodes']>[number]];
      const second = draft.update(first, { name: 'second' });
      const third = draft.update(first, { doc_string: 'third' });
      for (const version of [first, second, third]) {
        expect(draft.origin(version)).toBe(first);
        expect(draft.current(version)).toBe(third);
      }
      expect(third).toMatchObject({ name: 'second', doc_string: 'third' });
      const added = makeNode('Abs', ['x'], ['a']);
      draft.addNode(added);
      expect(draft.origin(draft.update(added, { name: 'other' }))).toBe(added);
      expect(draft.nodes().map(layerName)).toEqual(['second', 'neg', 'other']);
    });
  });

  it('must be one of the model', () => {
    const stranger = makeNode('Abs', ['x'], ['a'], {}, { name: 'stranger' });
    expect(refusal(line(), (draft) => draft.removeNode(stranger))).toMatchObject(
      says('stranger', /is not part of the edited model/),
    );
  });

  it('reads another value where it is told to, input by input, and removed ones do not', () => {
    const twice = line({ nodes: [makeNode('Add', ['x', 'x'], ['s']), makeNode('Mul', ['s', 'x'], ['y'])] });
    const next = edit(twice, (draft) => {
      const gone = makeNode('Abs', ['x'], ['a']);
      draft.addNode(gone);
      draft.removeNode(gone);
      draft.addNode(makeNode('Relu', ['x'], ['r']));
      draft.rewire('x', 'r', (node, input) => {
        expect([node.op_type, node.input[input]]).not.toContain('Abs');
        expect(node.input[input]).toBe('x');
        return (node.op_type === 'Add' && input === 1) || node.op_type === 'Mul';
      });
    });
    expect(next.graph.node.map(({ op_type, input }) => [op_type, ...input])).toEqual([
      ['Relu', 'x'],
      ['Add', 'x', 'r'],
      ['Mul', 's', 'r'],
    ]);
  });

  it('cannot be told to read another value within its body, unless it is left out', () => {
    expect(refusal(ifModel(), (draft) => draft.rewire('x', 'z'))).toMatchObject(
      says('choice', /cannot rewire "x": a subgraph of If captures it/),
    );
    const asked: unknown[] = [];
    edit(ifModel(), (draft) => {
      draft.rewire('x', 'z', (node, input) => asked.push([node.op_type, input]) < 0);
    });
    // Input −1: within a body.
    expect(asked).toEqual([['If', -1]]);
  });
});

describe('a constant in an edit', () => {
  it('has the name it is given under, whatever it was called', () => {
    const kept = one('kept', 3);
    const next = edit(line(), (draft) => {
      const added = ['r', 'kept'].map((hint) => draft.add(hint, hint === 'kept' ? kept : one('other', 2)));
      expect(added).toEqual(['r_1', 'kept']);
      draft.addNode(makeNode('Sum', ['x', ...added], ['s']));
      draft.update(draft.nodes()[1]!, { input: ['s'] });
    });
    expect(names(next.graph.initializer)).toEqual(['r_1', 'kept']);
    expect(initializers(next.graph).get('kept')).toBe(kept);
  });

  it('takes the place of another, or of the value of a removed node, and of nothing else', () => {
    const next = edit(listed(), (draft) => draft.replace('w', one('other', 5)));
    expect(names(next.graph.initializer)).toEqual(['w']);
    expect([...bytesOf(initializers(next.graph).get('w')!.raw_data)]).toEqual([...bytesOf(one('w', 5).raw_data)]);
    // What was listed as an input, with a value that a caller may overrule, is a constant now.
    expect(names(next.graph.input)).toEqual(['x']);
    const value = one('r', 7);
    const folded = edit(line(), (draft) => {
      draft.removeNode(draft.nodes()[0]!);
      draft.replace('r', value);
    });
    expect(folded.graph.node.map(layerName)).toEqual(['neg']);
    expect(initializers(folded.graph).get('r')).toBe(value);
    for (const name of ['r', 'nothing'])
      expect(refusal(line(), (draft) => draft.replace(name, one(name)))).toMatchObject(
        says(name, /no initializer of this name to replace/),
      );
  });

  it('is gone with the input it was listed as', () => {
    const next = edit(listed(), (draft) => {
      draft.removeInitializer('w');
      draft.update(draft.nodes()[0]!, { op_type: 'Neg', input: ['x'] });
    });
    expect([names(next.graph.input), names(next.graph.initializer)]).toEqual([['x'], []]);
    expect(refusal(listed(), (draft) => draft.removeInitializer('w'))).toMatchObject(says('mul', /Mul reads "w"/));
  });
});

describe('the border of a graph in an edit', () => {
  it('has the inputs and outputs that were added or set', () => {
    const value = (name: string) => makeValue(name, 'float32', [1]);
    const next = edit(line(), (draft) => {
      draft.addInput(value('z'));
      draft.addOutput(value('r'));
    });
    expect([names(next.graph.input), names(next.graph.output)]).toEqual([
      ['x', 'z'],
      ['y', 'r'],
    ]);
    const set = edit(next, (draft) => draft.setOutputs([value('r'), value('z'), value('y')]));
    expect(names(set.graph.output)).toEqual(['r', 'z', 'y']);
  });

  it('forgets the shapes that it is told to', () => {
    const { proto, graph } = line();
    const value_info = ['r', 'y'].map((name) => makeValue(name, 'float32', [1]));
    const model = modelOf(ModelCodec.amend(proto, { graph: GraphCodec.amend(graph, { value_info }) }));
    const notes = (change: (draft: Draft) => void) => names(edit(model, change).graph.value_info);
    expect(notes(() => undefined)).toEqual(['r', 'y']);
    expect(notes((draft) => draft.forgetShapes(new Set(['r', 'x'])))).toEqual(['y']);
    expect(notes((draft) => draft.forgetShapes())).toEqual([]);
  });
});

describe('operator sets in an edit', () => {
  /** The standard operators under the name that some exporters write. */
  const named = (version: number): Model => {
    const model = line({ opset: 13, ir: 7 });
    const opset_import = [OperatorSetCodec.create({ domain: 'ai.onnx', version: int64(version) })];
    return modelOf(ModelCodec.amend(model.proto, { opset_import }), model.path);
  };

  it('are raised and never lowered, whatever the standard one is called', () => {
    for (const model of [line({ opset: 13 }), named(13)]) {
      const raised = edit(model, (draft) => {
        for (const version of [15, 14]) draft.requireOpset('', version);
        draft.requireOpset('com.microsoft', 1);
      });
      expect([opset(raised), opset(raised, 'com.microsoft'), raised.proto.opset_import.length]).toEqual([15, 1, 2]);
      expect(opset(edit(model, (draft) => draft.requireOpset('', 12)))).toBe(13);
    }
    const only = edit(named(13), (draft) => draft.requireOpset('', 14));
    expect(only.proto.opset_import.map(({ domain }) => domain)).toEqual(['ai.onnx']);
  });

  // The first IR version that has each operator set: onnx's Versioning.md, "Released Versions".
  it.each([
    [14, 7],
    [15, 8],
    [18, 8],
    [19, 9],
    [20, 9],
    [21, 10],
    [22, 10],
    [23, 11],
    [24, 11],
    [25, 12],
  ])(
    // prettier-ignore
    'from %d on need IR %d',
    (version, ir) => {
      for (const model of [line({ opset: 13, ir: 7 }), named(13)]) {
        const raised = edit(model, (draft) => draft.requireOpset('', version));
        expect(toNumber(raised.proto.ir_version)).toBe(ir);
      }
      // A model that says less than its operator set asks for is left to say so.
      for (const same of [line({ opset: version, ir: 6 }), line({ opset: version, ir: 13 })])
        expect(edit(same, () => undefined).proto.ir_version).toEqual(same.proto.ir_version);
    },
  );

  it('need IR 4 only for constants that are no inputs', () => {
    const old = (): Model => modelOf(ModelCodec.amend(listed().proto, { ir_version: int64(3) }));
    const constant = (draft: Draft) => draft.update(draft.nodes()[0]!, { input: [draft.add('c', one('')), 'w'] });
    const versions = [() => undefined, constant].map((change) => edit(old(), change).proto.ir_version);
    expect(versions.map(toNumber)).toEqual([3, 4]);
  });
});

it('an edit sets and removes entries of the metadata, and keeps the others', () => {
  const start = edit(smallConvNet(), (draft) => draft.setMetadata('a', '1'));
  const both = edit(start, (draft) => draft.setMetadata('b', '2'));
  const found = (model: Model) => decodeModel(encodeModel(model)).proto.metadata_props.map(({ key, value }) => [key, value]); // prettier-ignore
  expect(found(edit(both, (draft) => draft.setMetadata('a', '3')))).toEqual([['b', '2'], ['a', '3']]); // prettier-ignore
  expect(found(edit(both, (draft) => draft.setMetadata('a', undefined)))).toEqual([['b', '2']]);
});
