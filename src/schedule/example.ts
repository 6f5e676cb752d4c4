import * as z from 'zod';
import type { Pass } from '../passes/pass.ts';
import { policyKeys } from './language.ts';

/** A value that shows the form of each option that a class insists on. */
const values: Readonly<Record<string, string>> = {
  levels: `{ '*': 0.5 }`,
  thresholds: `{ '*': 0.01 }`,
  sensitivities: `{ '*': 0.5 }`,
  patterns: `{ '*': '2:4' }`,
  budget: '{ macs: 0.7 }',
  weights: `['*']`,
  sparsity_range: '[0.2, 0.4]',
  initial_sparsity: '0.05',
  final_sparsity: '0.6',
  desired_sparsity: '0.5',
  sparsity: '0.5',
  low_thresh_mult: '0.8',
  hi_thresh_mult: '1.2',
  q: '0.1',
  ramp_epoch_offset: '2',
};

/** A whole schedule that applies one class once, or over some epochs where its strength rises with them: options that have a default are left out. */
export function exampleSchedule(pass: Pass): string {
  const schema = z.toJSONSchema(pass.options, { io: 'input', unrepresentable: 'any' });
  const listed = schema.required ?? [];
  // Of several options one must be given, which the JSON Schema does not say: a budget is the plainest.
  const open = listed.length === 0 && !pass.options.safeParse({}).success;
  const required = open && schema.properties?.['budget'] !== undefined ? ['budget'] : listed;
  const valueOf = (name: string): string | undefined =>
    name === 'budget' && pass.section === 'allocators' ? '{ weights: 4 }' : values[name];
  const options = required.map((name) => `    ${name}: ${valueOf(name) ?? '…'}`);
  const ramps = required.some((name) => name === 'final_sparsity' || name === 'ramp_epoch_offset');
  return [
    'version: 1',
    `${pass.section}:`,
    '  mine:',
    `    class: ${pass.classes[0] ?? pass.name}`,
    ...options,
    'policies:',
    `  - ${policyKeys[pass.section]}: { instance_name: mine }`,
    ...(ramps ? ['    starting_epoch: 0', '    ending_epoch: 10', '    frequency: 2'] : ['    epochs: [0]']),
  ].join('\n');
}
