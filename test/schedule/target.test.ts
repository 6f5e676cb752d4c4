import { readFileSync, readdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { passes } from '../../src/passes/index.ts';
import type { Pass } from '../../src/passes/pass.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { fits, forTarget, parseTarget, type Target } from '../../src/schedule/target.ts';

const folder = fileURLToPath(new URL('../../configs/targets/', import.meta.url));
const shipped = (name: string): Target =>
  parseTarget(readFileSync(`${folder}${name}.yaml`, 'utf8'), `${name}.yaml`, name, passes);
const target = (rules: string): Target =>
  parseTarget(`version: 1\nsummary: a machine\nrules:\n${rules}`, 'target.yaml', 'mine', passes);

/** A schedule of one stage with these options; an allocator must be told what to spend. */
const schedule = (cls: string, options = '') => {
  const { section = 'quantizers', options: takes } = passes.find(({ classes }) => classes.includes(cls)) ?? {};
  const all = options || (takes?.safeParse({}).success === false ? 'budget: { weights: 4 }' : '');
  return parseSchedule(
    `version: 1\n${section}:\n  q: { class: ${cls}${all && `, ${all}`} }\npolicies:\n  - ${section.slice(0, -1)}: { instance_name: q }\n    epochs: [0]\n`,
    'schedule.yaml',
    { passes },
  );
};
const optionsOf = (cls: string, written: string, to: Target) => {
  const { stages, notes } = forTarget(schedule(cls, written), to);
  return { options: stages[0]?.options as Record<string, unknown>, pass: stages[0]?.pass as Pass, notes };
};

describe('targets', () => {
  it.each(readdirSync(folder).map((file) => file.replace('.yaml', '')))('%s is right, and gives reasons', (name) => {
    const { rules, summary } = shipped(name);
    expect(summary).not.toBe('');
    expect(rules.every((rule) => rule.reason.length > 20)).toBe(true);
    // Rules must set options that the classes have: every shipped quantizer goes through or is refused with the reason.
    for (const { class: cls, refuse } of rules) {
      const apply = () => forTarget(schedule(cls), shipped(name));
      if (refuse) expect(apply).toThrow(`${cls} is not for ${name}`);
      else expect(apply).not.toThrow();
    }
  });

  it('without VNNI no two products of bytes leave int16: 7-bit weights, in overrides too', () => {
    const avx2 = shipped('node-x64-avx2');
    const { options, notes } = optionsOf(
      'PostTrainLinearQuantizer',
      "overrides: { 'a*': { bits_weights: 4 }, 'b*': { bits_weights: 8 }, 'c*': { bits_weights: float }, '*': { bits_activations: 8 } }",
      avx2,
    );
    const bits = options['bits_weights'] as number;
    const largest = 2 ** (bits - 1) - 1; // symmetric
    expect(2 * 255 * largest).toBeLessThanOrEqual(32767);
    expect(2 * 255 * (2 ** bits - 1)).toBeGreaterThan(32767); // and not less than can be
    expect(options['overrides']).toEqual({
      'a*': { bits_weights: 4 },
      'b*': { bits_weights: 7 },
      'c*': { bits_weights: null },
      '*': { bits_activations: 8 },
    });
    expect(notes.at(-1)).toContain('bits_weights 8 → 7; b*: bits_weights 8 → 7; two products');
    // A plan brings widths of its own: every allocator is held too.
    const allocators = passes.filter(({ section }) => section === 'allocators').flatMap(({ classes }) => classes);
    expect(allocators.length).toBeGreaterThan(3);
    for (const name of allocators) expect(avx2.rules.map((rule) => rule.class)).toContain(name);
    expect(optionsOf('SqnrAllocator', '', avx2).options['most_bits']).toBe(bits);
    expect(optionsOf('DynamicQuantizer', '', avx2).options['bits_weights']).toBe(7);
  });

  it('holds stages whose options are number formats', () => {
    const list = "quantizer: FormatQuantizer, budget: { weights: 4 }, formats: [int4, 'codebook:bits=3']";
    const { options } = optionsOf('SqnrAllocator', list, shipped('node-x64-avx2'));
    expect(options['most_bits']).toBe(7);
    expect(JSON.stringify(options['formats'])).toBe('["int4","codebook:bits=3"]');
    const mine = target(
      '  - { class: FormatQuantizer, set: { activations: null }, float: [Gather], reason: it rounds nothing at run time }',
    );
    const written =
      "format: { name: minifloat, exponent: 4, mantissa: 2 }, activations: int8, overrides: { fc: { format: nf4, activations: int4 }, '*': { sharing: row } }";
    const { options: held, notes, pass } = optionsOf('FormatQuantizer', written, mine);
    expect(JSON.parse(JSON.stringify(held))).toMatchObject({
      format: 'minifloat:mantissa=2',
      activations: null,
      overrides: {
        fc: { format: 'nf4', activations: null },
        'op:Gather': { bits_weights: null },
        '*': { sharing: 'row' },
      },
    });
    expect((held['format'] as { finer: unknown }).finer).toBeInstanceOf(Function);
    expect(notes.at(-1)).toContain(
      'activations int8 → float; fc: activations int4 → float; Gather stay in float; it rounds nothing',
    );
    // What a retry tries is a format too, one finer, and held as well.
    const tried = pass.strength?.at(held, 15 / 16) as Record<string, unknown>;
    expect(JSON.parse(JSON.stringify(tried))).toMatchObject({ format: 'minifloat', activations: null });
  });

  it('holds what a retry tries as well', () => {
    const { pass, options } = optionsOf('PostTrainLinearQuantizer', 'bits_weights: 4', shipped('node-x64-avx2'));
    expect(pass.strength?.at(options, 0)).toMatchObject({ bits_weights: 7 });
  });

  it('changes nothing where the default is for the target', () => {
    const { options, notes } = optionsOf('PostTrainLinearQuantizer', '', shipped('node-x64-vnni'));
    expect(options).toEqual(schedule('PostTrainLinearQuantizer').stages[0]?.options);
    expect(notes).toEqual(['target node-x64-vnni: x86-64 whose integer dot product (VNNI) adds up in 32 bits']);
  });

  it('leaves operators in float, before the rest of the overrides and behind what the schedule names', () => {
    const mine = target(
      '  - { class: WeightOnlyQuantizer, float: [Gather, GRU], reason: it has no such kernels here }',
    );
    const { options, notes } = optionsOf(
      'WeightOnlyQuantizer',
      "overrides: { 'op:GRU': { bits_weights: 8 }, '*': { bits_weights: 4 } }",
      mine,
    );
    expect(Object.keys(options['overrides'] as object)).toEqual(['op:GRU', 'op:Gather', '*']);
    expect((options['overrides'] as Record<string, unknown>)['op:Gather']).toEqual({ bits_weights: null });
    expect(notes.at(-1)).toContain('Gather stay in float; it has no such kernels here');
  });

  it('says where a target file is wrong', () => {
    expect(() => target('  - { class: NoSuchQuantizer, reason: none }')).toThrow(
      expect.objectContaining({ at: 'target.yaml:4:14' }) as Error,
    );
    expect(() => target('  - { class: DynamicQuantizer, sets: {}, reason: none }')).toThrow('sets');
    const wrong = target('  - { class: DynamicQuantizer, set: { bits_weights: many }, reason: none of them }');
    expect(() => forTarget(schedule('DynamicQuantizer'), wrong)).toThrow('options it does not take');
  });

  it('knows a processor by its flags', () => {
    const names = ['node-x64-vnni', 'node-x64-avx2', 'node-arm64', 'web-wasm', 'webgpu'];
    const found = (arch: string, ...flags: string[]) =>
      names.filter((name) => fits(shipped(name), arch, new Set(flags)));
    expect(found('x64', 'avx2', 'avx512_vnni')).toEqual(['node-x64-vnni']);
    expect(found('x64', 'avx2', 'avx_vnni')).toEqual(['node-x64-vnni']);
    expect(found('x64', 'avx2', 'avx512f')).toEqual(['node-x64-avx2']);
    expect(found('arm64', 'asimddp')).toEqual(['node-arm64']);
  });
});
