import { Ajv, type ValidateFunction } from 'ajv';
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Answers } from '../../src/cli/answers.ts';
import { main } from '../../src/cli/main.ts';
import type { RunReport } from '../../src/run/report.ts';
import { fakeIo } from './fake_io.ts';
import { furnish, openWorkshop, type Workshop } from './workshop.ts';

const folder = fileURLToPath(new URL('../../configs/schemas/', import.meta.url));
const read = (file: string): unknown => JSON.parse(readFileSync(file, 'utf8'));

let shop: Workshop;
const before = process.cwd();
beforeAll(async () => {
  await furnish((shop = await openWorkshop()));
  process.chdir(shop.path());
  await shop.write(
    'bits.yaml',
    'version: 1\nallocators: { bits: { class: SensitivityAllocator, budget: { weights: 4 } } }\npolicies: [{ allocator: { instance_name: bits }, epochs: [0] }]\n',
  );
});
afterAll(async () => {
  process.chdir(before);
  await shop.remove();
});

/** With no keys but those that it names: what a type has lost is no key of its schema. */
function strict(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(strict);
  if (typeof schema !== 'object' || schema === null) return schema;
  const held = Object.fromEntries(Object.entries(schema).map(([key, value]) => [key, strict(value)]));
  return 'properties' in held && !('additionalProperties' in held) ? { ...held, additionalProperties: false } : held;
}

function validator(name: keyof Answers): ValidateFunction {
  return new Ajv({ strict: false }).compile(strict(read(join(folder, `${name}.schema.json`))) as object);
}

const asked = new Set<string>();
async function answer(...args: string[]): Promise<unknown> {
  asked.add(args[0] ?? '');
  const io = fakeIo({ columns: 80 });
  await main([...args, '--json'], io);
  return JSON.parse(io.out());
}

function expectValid(name: keyof Answers, value: unknown): void {
  const validate = validator(name);
  validate(value);
  expect([name, validate.errors]).toEqual([name, null]);
}

describe('the JSON Schemas of answers', () => {
  it('are those of the types; if not, run "make schema"', () => {
    const script = fileURLToPath(new URL('../../scripts/answer_schemas.mjs', import.meta.url));
    const { status, stderr } = spawnSync(process.execPath, [script, shop.path('made')], { encoding: 'utf8' });
    expect([status, stderr]).toEqual([0, '']);
    const made = readdirSync(shop.path('made'));
    expect(readdirSync(folder)).toEqual(made);
    for (const name of made) expect(read(join(folder, name))).toEqual(read(shop.path('made', name)));
  });

  const data = ['--data', 'data.yaml'];
  it.each<[keyof Answers, string[]]>([
    ['quantize', ['quantize', 'model.onnx', '--schedule', 'int8', ...data, '-o', 'out', '--no-latency']],
    ['quantize', ['quantize', 'model.onnx', '--schedule', 'bits.yaml', '--data', 'random', '-o', 'random', '--no-latency']], // prettier-ignore
    ['check', ['quantize', 'model.onnx', '--schedule', 'int8', ...data, '-o', 'no', '--dry-run']],
    ['check', ['check', 'schedule.yaml']],
    ['eval', ['eval', 'model.onnx', ...data, '--no-latency']],
    // A model beside itself: its SQNR is infinite.
    ['eval', ['eval', 'model.onnx', '--reference', 'model.onnx', '--data', 'random']],
    ['compare', ['compare', 'model.onnx', 'out/model.onnx', ...data, '--no-latency']],
    ['compare', ['compare', 'model.onnx', 'model.onnx', '--data', 'random', '--no-latency']],
    ['verify-integer', ['verify-integer', 'out/model.onnx', ...data, '--accumulator', '16']],
    ['verify-integer', ['verify-integer', 'out/model.onnx', '--data', 'random', '--limit', '4', '--schemes', 'cmsis']],
    ['bench', ['bench', 'model.onnx', '--batch', '1', '--seconds', '0']],
    ['inspect', ['inspect', 'model.onnx']],
    ['analyze', ['analyze', 'model.onnx', ...data, '--samples', '8']],
    ['sensitivity', ['sensitivity', 'model.onnx', ...data, '--levels', '0.5,0.9', '--budget', 'parameters=0.7']],
    ['sensitivity', ['sensitivity', 'model.onnx', ...data, '--quantize', '--widths', '4', '--layers', 'fc']],
    ['simulate', ['simulate', 'model.onnx', ...data, '--sweep', 'int4', 'hwgq', '--activations', 'int8']],
    ['init', ['init', 'model.onnx', '-o', 'try']],
    ['report', ['report', 'out']],
    ['pack', ['pack', 'model.onnx', '-o', 'model.qpack']],
    ['unpack', ['unpack', 'model.qpack', '-o', 'same.onnx']],
    ['passes', ['passes']],
    ['passes', ['explain', 'AdaRound']],
    ['schedules', ['schedules']],
    ['completion', ['completion', 'bash']],
    ['error', ['inspect', 'no.onnx']],
    ['error', ['inspect']],
    ['error', ['quantize', 'model.onnx', '--schedule', 'int9', ...data, '-o', 'no']],
  ])('%s holds for %j', async (name, args) => {
    expectValid(name, await answer(...args));
  });

  it('hold for the files of a run', () => {
    expectValid('quantize', read(shop.path('out', 'report.json')));
    // What the allocator measured of each layer, for the heat map.
    const { sensitivity } = read(shop.path('random', 'report.json')) as RunReport;
    expect(sensitivity?.rows.map(({ layer, values }) => [layer, values.length])).toEqual([['conv', 7], ['fc', 7]]); // prettier-ignore
    expect(readFileSync(shop.path('random', 'report.html'), 'utf8')).toContain('conv at 2 bits: drop ');
  });

  it('are there for every command that takes --json', async () => {
    const io = fakeIo();
    await main(['help'], io);
    for (const command of io.out().match(/(?<=^ {2})[a-z-]+(?= )/gm) ?? []) {
      const help = fakeIo();
      await main(['help', command], help);
      expect([command, asked.has(command)]).toEqual([command, help.out().includes('--json')]);
    }
  });

  it('refuse what no command prints', async () => {
    const inspected = (await answer('inspect', 'model.onnx')) as object;
    for (const wrong of [
      { ...inspected, more: 1 },
      { ...inspected, params: '1' },
      {},
      { ...inspected, bytes: 'Infinity' },
    ])
      expect(validator('inspect')(wrong)).toBe(false);
    const { zeros: _, ...less } = inspected as { zeros: number };
    expect(validator('inspect')({ ...less, zeros: 'NaN' })).toBe(true);
    expect(validator('inspect')({ ...less, zeros: 'nan' })).toBe(false);
  });
});
