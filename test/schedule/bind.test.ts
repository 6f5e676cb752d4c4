import { modulePath } from '../../src/graph/module_path.ts';
import type { LayerFact } from '../../src/graph/names.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import type { Schedule } from '../../src/schedule/types.ts';
import { fakePasses } from './passes.ts';

const facts = (...rows: readonly (readonly [node: string, weight?: string])[]): LayerFact[] =>
  rows.map(([node, weight], index) => ({
    node,
    opType: 'Conv',
    weights: weight === undefined ? [] : [weight],
    module: modulePath(node) ?? (weight?.endsWith('.weight') ? weight.slice(0, -7) : undefined),
    index,
  }));

const torch = facts(['/conv1/Conv', 'onnx::Conv_1'], ['/Relu'], ['/layer1/layer1.0/conv1/Conv', 'onnx::Conv_2'], ['/fc/Gemm', 'fc.weight']); // prettier-ignore
const renamed = facts(['Conv_0', '101'], ['Relu_1'], ['Conv_2', '104'], ['Conv_4', '107']);

const bind = (text: string, layers: readonly LayerFact[]): Schedule =>
  bindSchedule(parseSchedule(text, 's.yaml', { passes: fakePasses }), { layers });

const levels = (text: string, more = ''): string => `${more}pruners:
  p:
    class: SparsityLevelParameterPruner
    levels: { ${text} }
policies: [ { pruner: { instance_name: p }, epochs: [0] } ]
`;

describe('a schedule meets a model', () => {
  it('whose names it can use as they are', () => {
    const text = levels("'*': 0.1, conv1.weight: 0.2, '/layer1/': 0.3, module.fc.weight: 0.4");
    const { stages, notes } = bind(text, torch);
    expect(stages[0]?.options).toEqual({
      levels: { '*': 0.1, 'conv1.weight': 0.2, '/layer1/': 0.3, 'module.fc.weight': 0.4 },
    });
    expect(notes).toEqual(['conv1.weight is onnx::Conv_1 of /conv1/Conv', 'module.fc.weight is fc.weight of /fc/Gemm']);
  });

  it('and says where each selector stands that matches nothing', () => {
    const text = `quantizers:
  q:
    class: PostTrainLinearQuantizer
    overrides:
      conv1: { bits_weights: 4 }
      convv1: { bits_weights: 4 }
pruners:
  p: { class: AutomatedGradualPruner, initial_sparsity: 0, final_sparsity: 1, weights: [fc, 'layer9*', Relu] }
policies: [ { pruner: { instance_name: p }, epochs: [0] } ]
`;
    expect(() => bind(text, torch)).toThrow(
      [
        '3 problems in s.yaml:',
        '  s.yaml:6:15 quantizers.q.overrides.convv1: "convv1" matches no layer of the model (did you mean "conv1"?)',
        '  s.yaml:8:93 pruners.p.weights.1: "layer9*" matches no weights of the model (there are: conv1, layer1.0.conv1, fc, ...)',
        '  s.yaml:8:104 pruners.p.weights.2: "Relu" matches no weights of the model (there are: conv1, layer1.0.conv1, fc, ...)',
      ].join('\n'),
    );
  });

  it("checks what a policy's args name, at the policy", () => {
    const text = `pruners: { p: { class: LevelPruner, levels: { fc: 0.5 } } }
policies:
  - { pruner: { instance_name: p, args: { levels: { fd: 0.9 } } }, epochs: [1] }`;
    expect(() => bind(text, torch)).toThrow(/^"?policies.0.pruner.args.levels.fd: "fd" matches no weights/);
  });

  it('whose exporter renamed every layer: by order, with the mapping printed and the options rewritten', () => {
    const text = levels('module.fc.weight: 0.3, module.layer1.0.conv1.weight: 0.2, module.conv1.weight: 0.1');
    const { stages, notes } = bind(text, renamed);
    expect(Object.entries((stages[0]?.options as { levels: object }).levels)).toEqual([
      ['Conv_4', 0.3],
      ['Conv_2', 0.2],
      ['Conv_0', 0.1],
    ]);
    expect(notes).toContain('module.layer1.0.conv1.weight is Conv_2');
  });

  it('by order over all instances of the file, lists as well as mappings', () => {
    const text = `pruners:
  a: { class: AutomatedGradualPruner, initial_sparsity: 0, final_sparsity: 1, weights: [layer1.0.conv1.weight, fc.weight] }
  b: { class: LevelPruner, levels: { conv1.weight: 0.5 } }
policies:
  - { pruner: { instance_name: a }, epochs: [0, 1] }
  - { pruner: { instance_name: b }, epochs: [0] }`;
    expect(bind(text, renamed).stages.map((stage) => stage.options)).toMatchObject([
      { weights: ['Conv_2', 'Conv_4'] },
      { levels: { Conv_0: 0.5 } },
      { weights: ['Conv_2', 'Conv_4'] },
    ]);
  });

  it('only where the counts agree, and never for a slip of the keyboard', () => {
    expect(() => bind(levels('module.fc.weight: 0.3'), renamed)).toThrow(
      /"module.fc.weight" matches no weights of the model: .* 1 names for 3 layers cannot be matched by order; say which is which with a table "names:"/,
    );
    expect(() => bind(levels('Conv_0: 0.3, Conv_2: 0.3, Conv_5: 0.3'), renamed)).toThrow(/did you mean "Conv_0"/);
  });

  it('with a table of names', () => {
    const table = 'names: { layer1.0.conv1: Conv_2, fc: "107" }\n';
    const { stages, notes } = bind(levels('module.fc.weight: 0.3, layer1.0.conv1.weight: 0.2', table), renamed);
    expect(stages[0]?.options).toEqual({ levels: { 107: 0.3, Conv_2: 0.2 } });
    expect(notes).toEqual(['module.fc.weight is 107', 'layer1.0.conv1.weight is Conv_2']);
    expect(() => bind(levels('fc: 0.3', 'names: { fc: Conv_7 }\n'), renamed)).toThrow(
      'names.fc: the model has no "Conv_7" (did you mean "Conv_0"?)',
    );
  });

  it('with a list of all layers', () => {
    const list = 'names: [conv1, layer1.0.conv1, fc]\n';
    expect(bind(levels('module.fc.weight: 0.3', list), renamed).stages[0]?.options).toEqual({
      levels: { Conv_4: 0.3 },
    });
    expect(() => bind(levels('fc: 0.3', 'names: [conv1, fc]\n'), renamed)).toThrow(
      'names: lists 2 layers, but the model has 3 with weights',
    );
  });
});
