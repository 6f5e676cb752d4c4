import { paintFor } from '../../src/cli/color.ts';
import { compress, type CompressOptions } from '../../src/api/compress.ts';
import { passes } from '../../src/passes/index.ts';
import { exampleSchedule } from '../../src/schedule/example.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { htmlReport } from '../../src/report/html.ts';
import { textReport } from '../../src/report/text.ts';
import { noise, smallConvNet } from '../helpers/models.ts';

const data = Array.from({ length: 16 }, (_, i) => ({ feeds: { x: { dims: [1, 3, 8, 8], data: noise(i, 192) } } }));
const taught = Array.from({ length: 16 }, (_, i) => ({
  feeds: { x: { dims: [1, 3, 8, 8], data: noise(99 + i, 192) } },
  label: i % 5,
}));
const sets = { calibration: data, validation: data, training: taught };
const run = (schedule: string, own: CompressOptions['data'] = data) =>
  compress({ model: smallConvNet(), schedule, data: own, latency: false });

/** Where the quantizer's gate cannot hold. */
const hopeless = `
version: 1
allocators:
  bits: { class: SqnrAllocator, budget: { weights: 3 } }
  repair: { class: RepairAllocator, seconds: 1 }
quantizers:
  int8: { class: PostTrainLinearQuantizer }
extensions:
  rounding: { class: AdaRound, iterations: 0 }
policies:
  - { allocator: { instance_name: bits }, epochs: [0], gate: none }
  - { quantizer: { instance_name: int8 }, epochs: [1], gate: { metric: sqnr, min: 150, on_fail: undo } }
  - { allocator: { instance_name: repair }, epochs: [2] }
  - { extension: { instance_name: rounding }, epochs: [3] }
`;

describe('a run whose quantizer was undone', () => {
  it('says so first, keeps nothing that works for it, and tells what the float model gives', async () => {
    const { report } = await run(hopeless);
    expect(report.stages.map(({ verdict }) => verdict)).toEqual(['kept', 'undone', 'undone', 'undone']);
    expect(report.stages[2]?.why).toBe('nothing is left to do: its quantizer (2 int8) was undone');
    expect(report.warnings[0]).toMatch(/^the quantizer \(2 int8\) was undone, so the result computes in float, .*: sqnr .* < 150\.00 dB; give /); // prettier-ignore
    // Not what the plan's preview gave.
    expect(report.result.measurement.metrics.find(({ name }) => name === 'sqnr')?.value).toBe(Infinity);
    const text = textReport(report, { paint: await paintFor(true), width: 100 });
    expect(text).toMatch(/^\u001b\[33m! the quantizer \(2 int8\) was undone/);
    expect(htmlReport(report)).toContain('<p class="alarm"><strong>Mind:</strong> the quantizer (2 int8) was undone');
  });

  it('is no such run where another quantizer was kept', async () => {
    const { report } = await run(
      `${hopeless.replace('extensions:', '  half: { class: Float16Quantizer }\nextensions:')}  - { quantizer: { instance_name: half }, epochs: [4] }\n`,
    );
    expect(report.stages.at(-1)?.verdict).toBe('kept');
    expect(report.warnings.join()).not.toContain('computes in float');
  });
});

describe('a stage that lacks another', () => {
  const parse = (text: string) => parseSchedule(text, 's.yaml', { passes });
  const one = (section: string, key: string, text: string) =>
    `version: 1\n${section}:\n  mine: { ${text} }\npolicies:\n  - { ${key}: { instance_name: mine }, epochs: [0] }\n`;

  it.each([
    ['extensions', 'extension', 'class: AdaRound', '"mine" (AdaRound) will do nothing: it works on what a quantizer has made, and none runs before it'], // prettier-ignore
    ['extensions', 'extension', 'class: CrossLayerEqualization', 'nothing will come of "mine" (CrossLayerEqualization): it prepares for a quantizer, and none runs behind it'], // prettier-ignore
    ['allocators', 'allocator', 'class: SqnrAllocator, budget: { weights: 4 }', 'nothing will come of "mine" (SqnrAllocator): it prepares for a quantizer, and none runs behind it'], // prettier-ignore
    ['allocators', 'allocator', 'class: RepairAllocator', '"mine" (RepairAllocator) will do nothing: it works on what an allocator has made, and none runs before it'], // prettier-ignore
  ])('is named by the schedule: %s %s %s', (section, key, text, warning) => {
    expect(parse(one(section, key, text)).warnings).toEqual([warning]);
  });

  it('is said before the result of the run, which comes to its end', async () => {
    const { report } = await run(one('extensions', 'extension', 'class: BiasCorrection'));
    expect(report.warnings[0]).toMatch(/^"mine" \(BiasCorrection\) will do nothing/);
  });
});

describe('the schedule that explain shows', () => {
  it.each(passes.map((pass) => [pass.name, pass] as const))('lets %s work', async (_name, pass) => {
    const trains = pass.trains === true || pass.grows === true;
    const { report } = await run(exampleSchedule(pass), trains ? sets : data);
    expect(report.stages.map(({ verdict }) => verdict)).not.toContain('undone');
    expect(report.warnings.join('\n')).not.toMatch(/will do nothing|nothing will come/);
    const name = trains ? 'train/epoch' : pass.name;
    const mine = report.stages.filter((stage) => stage.pass === name);
    expect(mine.length).toBeGreaterThan(0);
    if (pass.follows === 'quantizers') expect(mine.flatMap(({ changed }) => changed)).not.toEqual([]);
  });
});
