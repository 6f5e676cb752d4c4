import { scheduleJsonSchema } from '../../src/schedule/json_schema.ts';
import { parse } from 'yaml';
import { passes } from '../../src/passes/index.ts';
import { validJson } from '../helpers/json_schema.ts';
import { fakePasses } from './passes.ts';

interface Branch {
  readonly title: string;
  readonly properties?: Readonly<Record<string, { readonly description?: string }>>;
}

const schema = scheduleJsonSchema(fakePasses);
const accepts = (text: string): boolean => validJson(schema, parse(text));

describe('the JSON Schema of schedules', () => {
  it.each([
    ['a class with its options', 'pruners: { p: { class: LevelPruner, levels: { fc: 0.5 } } }'],
    ["Distiller's name of it", 'pruners: { p: { class: SparsityLevelParameterPruner, levels: {} } }'],
    ['options that have defaults', 'quantizers: { q: { class: StaticQuantizer } }'],
    ['a class that waits', 'lr_schedulers: { d: { class: StepLR, step_size: 3 } }'],
    ['a policy', "policies: [ { pruner: { instance_name: p }, epochs: [0], gate: { metric: a, max_drop: '1%' } } ]"],
    ['an empty section', 'pruners:\nversion: 1'],
  ])('accepts %s', (_, text) => {
    expect(accepts(text)).toBe(true);
  });

  it.each([
    ['a key at the top', 'prunners: {}'],
    ['another version', 'version: 2'],
    ['an unknown class', 'pruners: { p: { class: LevelPrunner, levels: {} } }'],
    ['no class', 'pruners: { p: { levels: {} } }'],
    ['a class of another section', 'extensions: { p: { class: LevelPruner, levels: {} } }'],
    ['an option of another class', 'pruners: { p: { class: LevelPruner, levels: {}, weights: [] } }'],
    ['a missing option', 'pruners: { p: { class: LevelPruner } }'],
    ['an option out of its range', 'pruners: { p: { class: LevelPruner, levels: { fc: 2 } } }'],
    ['a policy key', 'policies: [ { pruner: { instance_name: p }, epoch: [0] } ]'],
    ['a gate', 'gate: { metric: a, max_drop: -1 }'],
    ['a policy without an instance', 'policies: [ { epochs: [0] } ]'],
    ['a policy with two', 'policies: [ { pruner: { instance_name: p }, extension: { instance_name: p } } ]'],
  ])('refuses %s', (_, text) => {
    expect(accepts(text)).toBe(false);
  });

  it('says what every option of every class means', () => {
    const all = scheduleJsonSchema(passes)['properties'] as Record<
      string,
      { additionalProperties?: { oneOf?: Branch[] } }
    >;
    const running = new Set(passes.flatMap(({ classes }) => classes));
    const branches = Object.values(all).flatMap(({ additionalProperties }) => additionalProperties?.oneOf ?? []);
    const silent = branches
      .filter(({ title }) => running.has(title))
      .flatMap(({ title, properties = {} }) =>
        Object.entries(properties).flatMap(([name, { description }]) =>
          description || name === 'class' ? [] : [`${title}: ${name}`],
        ),
      );
    expect(branches.filter(({ title }) => running.has(title)).length).toBeGreaterThan(running.size / 2);
    expect(silent).toEqual([]);
  });

  it('has one branch a class, told apart by a constant', () => {
    const { pruners } = schema['properties'] as { pruners: { additionalProperties: { oneOf: { title: string; properties: { class: { const: string } } }[] } } }; // prettier-ignore
    const branches = pruners.additionalProperties.oneOf;
    expect(branches.map((branch) => branch.properties.class.const)).toEqual([
      'LevelPruner',
      'SparsityLevelParameterPruner',
      'GradualPruner',
      'AutomatedGradualPruner',
    ]);
  });
});
