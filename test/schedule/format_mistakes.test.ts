import { passes } from '../../src/passes/index.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { QtoolError } from '../../src/util/error.ts';

const problem = (text: string): string => {
  try {
    parseSchedule(text, 's.yaml', { passes, metrics: [{ name: 'top1' }] });
    return 'none';
  } catch (error) {
    if (!(error instanceof QtoolError)) throw error;
    return `${error.at ?? ''} ${error.message}`;
  }
};
const quantizer = (options: string): string => problem(`quantizers:\n  q: { class: FormatQuantizer, ${options} }\npolicies: [ { quantizer: { instance_name: q }, epochs: [0] } ]\n`); // prettier-ignore
const allocator = (options: string): string => problem(`allocators:\n  a: { class: SqnrAllocator, ${options} }\nquantizers:\n  q: { class: FormatQuantizer }\npolicies: [ { allocator: { instance_name: a }, epochs: [0] }, { quantizer: { instance_name: q }, epochs: [1] } ]\n`); // prettier-ignore

describe('a number format in the wrong place is found before anything runs', () => {
  it.each([
    ['format: pact', 's.yaml:2:40 quantizers.q.format: pact cannot hold weights: it clips activations'],
    ['format: int4, activations: nf4', 'quantizers.q.activations: nf4 cannot hold activations: '],
    ["activations: 'mxfp4:scale=mse'", 'quantizers.q.activations: mxfp4 cannot hold activations: a scale of least'],
    ['overrides: { fc: { format: hwgq } }', 'quantizers.q.overrides.fc.format: hwgq cannot hold weights: '],
    ['overrides: { fc: { activations: binary } }', 'q.overrides.fc.activations: binary cannot hold activations: '],
  ])('of FormatQuantizer: %s', (options, message) => expect(quantizer(options)).toContain(message));

  const list = 'quantizer: FormatQuantizer, budget: { weights: 4 }';
  it.each([
    [`${list}, formats: [int4, pact]`, 'allocators.a.formats: pact cannot hold weights: '],
    [`${list}, formats: [int4], first: 8`, 'allocators.a.first: goes without formats: '],
    [`${list}, formats: [int4], scales: coded`, 'allocators.a.scales: formats have scales that are their own'],
    [`${list}, formats: [int4], cost: macs`, 'allocators.a.cost: bit operations are those of integers: '],
    ["quantizer: FormatQuantizer, budget: { bit_operations: '60%' }, formats: [int4]", 'a.budget: bit operations are those of integers: '],
    ['budget: { weights: 4 }, formats: [int4]', 'a.quantizer: formats and quantizer: FormatQuantizer go together: give both'],
    [list, 'a.quantizer: formats and quantizer: FormatQuantizer go together: give both, or neither'],
  ])('of an allocator: %s', (options, message) => expect(allocator(options)).toContain(message)); // prettier-ignore
});

it.each([
  ['format: 5', 'quantizers.q.format: expected '],
  ['format: [int4]', 'or a text or a mapping'],
  ['format: INT4', 'no number format is called "INT4" (did you mean "int4"?)'],
  ["format: ' int4 '", 'none'],
])('says what a format may be: %s', (options, message) => {
  expect(quantizer(options)).toContain(message);
  expect(quantizer(options)).not.toContain('expected ,');
});
