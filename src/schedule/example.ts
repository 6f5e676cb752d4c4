import * as z from 'zod';
import type { Pass, Section } from '../passes/pass.ts';
import { policyKeys } from './language.ts';

/** A value that shows the form of each option that a class insists on. */
const values: Readonly<Record<string, string>> = {
  levels: `{ '*': 0.5 }`,
  thresholds: `{ '*': 0.01 }`,
  sensitivities: `{ '*': 0.5 }`,
  patterns: `{ '*': '2:4' }`,
  budget: '{ macs: 0.7 }',
  format: 'ternary',
  exits: '[{ at: relu1 }]',
  weights: `['*']`,
  sparsity_range: '[0.2, 0.4]',
  initial_sparsity: '0.05',
  final_sparsity: '0.6',
  desired_sparsity: '0.5',
  sparsity: '0.5',
  low_thresh_mult: '0.8',
  hi_thresh_mult: '1.2',
  q: '0.1',
  resolution: '4',
  ramp_epoch_offset: '2',
};

/** A plain stage of a section, for what needs one beside it. */
const plain: { readonly [section in Section]?: readonly string[] } = {
  pruners: ['class: SparsityLevelParameterPruner', `levels: { '*': 0.5 }`],
  allocators: ['class: SqnrAllocator', 'budget: { weights: 4 }'],
  quantizers: ['class: PostTrainLinearQuantizer'],
};

const widthOf = (pass: Pass): unknown => (pass.options.parse({}) as { readonly bits_weights?: unknown }).bits_weights;

interface Part {
  readonly section: Section;
  readonly name: string;
  readonly lines: readonly string[];
}

/**
 * A whole schedule that applies one class once, or over some epochs where its strength rises with them, with what it needs before and
 * behind it: options that have a default are left out.
 */
export function exampleSchedule(pass: Pass): string {
  const schema = z.toJSONSchema(pass.options, { io: 'input', unrepresentable: 'any' });
  const listed = schema.required ?? [];
  // Of several options one must be given, which the JSON Schema does not say.
  const open = listed.length === 0 && !pass.options.safeParse({}).success;
  const plainest = ['budget', 'resolution'].filter((name) => schema.properties?.[name] !== undefined);
  const required = open ? plainest : listed;
  const valueOf = (name: string): string | undefined =>
    name === 'budget' && pass.section === 'allocators' ? '{ weights: 4 }' : values[name];
  const learns = pass.learns === true;
  // Methods of one width have it, and formats say it.
  const anyWidth = learns && pass.options.safeParse({}).success && widthOf(pass) === null;
  const widths = anyWidth ? ['bits_weights: 4', 'bits_activations: 4'] : [];
  const options = [...required.map((name) => `${name}: ${valueOf(name) ?? '…'}`), ...widths];
  const ramps = required.some((name) => name === 'final_sparsity' || name === 'ramp_epoch_offset');
  const mine: Part = { section: pass.section, name: 'mine', lines: [`class: ${pass.classes[0] ?? pass.name}`, ...options] }; // prettier-ignore
  const beside = (section: Section | undefined, name: string): Part[] =>
    section === undefined ? [] : [{ section, name, lines: plain[section] ?? [] }];
  // What reads a plan needs who carries it out.
  const behind = pass.follows === 'allocators' ? 'quantizers' : pass.precedes;
  const parts = [...beside(pass.follows, 'first'), mine, ...beside(behind, 'last')];
  const sections = [...new Set(parts.map(({ section }) => section))];
  const body = (section: Section): string[] =>
    parts
      .filter((part) => part.section === section)
      .flatMap(({ name, lines }) => [`  ${name}:`, ...lines.map((line) => `    ${line}`)]);
  return [
    'version: 1',
    ...(pass.trains === true || pass.grows === true ? ['training: { epochs: 10, batch_size: 8 }'] : []),
    ...sections.flatMap((section) => [`${section}:`, ...body(section)]),
    'policies:',
    ...parts.flatMap(({ section, name }, epoch) => [
      `  - ${policyKeys[section]}: { instance_name: ${name} }`,
      ...(ramps || learns ? ['    starting_epoch: 0', '    ending_epoch: 10', ...(ramps ? ['    frequency: 2'] : [])] : [`    epochs: [${epoch}]`]), // prettier-ignore
    ]),
  ].join('\n');
}
