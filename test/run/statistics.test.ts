import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as z from 'zod';
import type { Dataset, RunData } from '../../src/data/types.ts';
import { decodeModel, encodeModel } from '../../src/graph/model.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { modelInputs } from '../../src/graph/query.ts';
import { passes } from '../../src/passes/index.ts';
import { run, type RunOptions } from '../../src/run/run.ts';
import { statisticsStore, type StatisticsFacts } from '../../src/run/statistics.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { floats } from '../helpers/context.ts';
import { noise, smallConvNet } from '../helpers/models.ts';

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-kept-'))));
afterEach(() => rm(folder, { recursive: true, force: true }));

const net = decodeModel(encodeModel(smallConvNet()));
const [input] = modelInputs(net);
const dims = [1, ...(input?.dims ?? []).slice(1).map(Number)];
const name = input?.name as string;

/** Samples of noise; `read` counts those given. */
function counted(count: number, seed = 0): Dataset & { read: number } {
  const set = {
    info: { kind: 'random', source: 'noise', samples: count, labelled: false, notes: [] } as Dataset['info'],
    fingerprint: (limit?: number) => `noise ${seed} ${limit}`,
    read: 0,
    async *samples(limit = count) {
      for (let i = 0; i < Math.min(count, limit); i++) {
        set.read++;
        const size = dims.reduce((a, b) => a * b, 1);
        yield { id: String(i), feeds: { [name]: floats(noise(1000 * seed + i, size), dims) } };
      }
    },
  };
  return set;
}

interface Given extends Partial<RunOptions> {
  readonly calibration?: string;
  readonly set?: Dataset & { read: number };
}

/** Quantizes into `folder/out`; gives the model's bytes, the notes and how often a calibration sample was read. */
async function quantized({ calibration = 'method: entropy', set = counted(24), ...more }: Given = {}) {
  const scheduleText = `version: 1\nquantizers:\n  q: { class: PostTrainLinearQuantizer, calibration: { ${calibration} } }\n`;
  const model = more.model ?? net;
  const schedule = bindSchedule(parseSchedule(scheduleText, 's.yaml', { passes }), { layers: layerFacts(model) });
  const data = { calibration: set, validation: counted(2, 9), notes: [], metrics: [], folder, batchSize: 4 };
  const outDir = join(folder, 'out');
  const report = await run({
    ...{ model, data: data satisfies RunData, schedule, scheduleText, outDir, metrics: [], force: true },
    ...{ measure: false, latency: false, batchSize: 4, signal: new AbortController().signal, log: () => undefined },
    ...more,
  });
  return {
    bytes: report.result.path === undefined ? Buffer.alloc(0) : await readFile(report.result.path),
    notes: report.notes.filter((text) => text.includes('statistics')),
    read: set.read,
  };
}
const kept = (): Promise<string[]> => readdir(join(folder, 'out', 'statistics'));
/** Planning and shapes look at single samples; a collection reads all of them. */
const few = 6;

describe('statistics in the run folder', () => {
  it('serve a second run: no collection, the same bytes, one line in the report', async () => {
    const without = await quantized({ cache: false });
    await expect(kept()).rejects.toThrow('ENOENT');
    const first = await quantized();
    expect(await kept()).toEqual([expect.stringMatching(/^[0-9a-f]{64}\.json$/)]);
    const second = await quantized();
    expect(first.bytes.equals(without.bytes)).toBe(true);
    expect(second.bytes.equals(without.bytes)).toBe(true);
    expect(first.read).toBeGreaterThanOrEqual(24);
    expect(second.read).toBeLessThan(few);
    expect(first.notes).toEqual([]);
    // The oracle, which quantizes once more where the processor saturates, reads them too.
    expect([...new Set(second.notes)]).toEqual([
      expect.stringContaining('statistics of 24 samples from an earlier run'),
    ]);
    expect((await quantized({ cache: false })).read).toBeGreaterThanOrEqual(24);
  });

  it('serve another method that reads the same statistic, not one that reads others', async () => {
    await quantized();
    expect((await quantized({ calibration: 'method: percentile, percentile: 99.9' })).read).toBeLessThan(few);
    expect((await quantized({ calibration: 'method: minmax' })).read).toBeGreaterThanOrEqual(24);
  });

  it.each<[string, Given]>([
    ['the weights of the model', { model: decodeModel(encodeModel(smallConvNet({ seed: 99 }))) }],
    ['the data', { set: counted(24, 1) }],
    ['the number of samples', { calibration: 'method: entropy, samples: 23' }],
    ['an option of the statistic', { calibration: 'method: entropy, num_bins: 1024' }],
    ['the share of elements', { calibration: 'method: entropy, elements: 4096' }],
    ['the memory limit', { calibration: 'method: entropy, memory_limit: 64' }],
    ['the batch size', { batchSize: 5 }],
    ['the threads', { threads: 1 }],
  ])('do not serve where %s changed', async (_, changed) => {
    await quantized();
    const other = await quantized(changed);
    expect(other.notes).toEqual([]);
    expect(other.read).toBeGreaterThanOrEqual(23);
    expect(await kept()).toHaveLength(2);
  });

  it('are not believed where the file is damaged', async () => {
    const first = await quantized();
    const path = join(folder, 'out', 'statistics', (await kept())[0] as string);
    const text = await readFile(path, 'utf8');
    await writeFile(path, text.slice(0, -40));
    const second = await quantized();
    expect(second.read).toBeGreaterThanOrEqual(24);
    expect(second.notes).toEqual([expect.stringMatching(/^statistics\/.*\.json is not what was kept there \(.*\): collected anew$/)]); // prettier-ignore
    expect(second.bytes.equals(first.bytes)).toBe(true);
    expect(await readFile(path, 'utf8')).toBe(text);
  });

  it('of an interrupted collection are not kept', async () => {
    const stopper = new AbortController();
    const set = counted(24);
    const samples = (limit?: number) => counted(24).samples(limit);
    set.samples = async function* (limit) {
      for await (const sample of samples(limit)) {
        if (limit !== 1 && sample.id === '12') stopper.abort();
        yield sample;
      }
    };
    await quantized({ set, signal: stopper.signal });
    await expect(kept()).rejects.toThrow('ENOENT');
  });
});

describe('statisticsStore', () => {
  const facts: StatisticsFacts = {
    tool: { qtool: '1', onnxruntime: '1', machine: 'x' },
    model: 'm',
    data: 'd',
    samples: 3,
    options: { batchSize: 4 },
    wanted: [['a', ['f']]],
  };
  const keeping = { options: ['minmax'], plain: (value: number) => value, schema: z.number() };
  const results = new Map([['a', [0.1]]]);
  const open = () => {
    const notes: string[] = [];
    const store = statisticsStore(join(folder, 'statistics'), (text) => notes.push(text));
    let collected = 0;
    const ask = (changed: Partial<StatisticsFacts> = {}, options: unknown = keeping.options) =>
      store.recall({ ...facts, ...changed }, { ...keeping, options }, async () => (collected++, results));
    return { store, notes, ask, collected: () => collected };
  };

  it.each<[string, Partial<StatisticsFacts>, unknown]>([
    ["qtool's version", { tool: { ...facts.tool, qtool: '2' } }, keeping.options],
    ["onnxruntime's version", { tool: { ...facts.tool, onnxruntime: '2' } }, keeping.options],
    ['the machine', { tool: { ...facts.tool, machine: 'y' } }, keeping.options],
    ['the model', { model: 'n' }, keeping.options],
    ['the data', { data: 'e' }, keeping.options],
    ['the samples', { samples: 4 }, keeping.options],
    ['an option of the runtime', { options: { batchSize: 5 } }, keeping.options],
    ['another value', { wanted: [['b', ['f']]] }, keeping.options],
    ['another fold', { wanted: [['a', ['g']]] }, keeping.options],
    ['an option of the folds', {}, ['histogram']],
  ])('collects anew for %s', async (_, changed, options) => {
    await open().ask();
    const { ask, collected } = open();
    await ask(changed, options);
    expect(collected()).toBe(1);
    await ask();
    expect(collected()).toBe(1);
  });

  it.each<[string, (text: string) => string, string]>([
    ['cut off', (text) => text.slice(0, -40), 'it is no whole JSON'],
    ['empty', () => '', 'it is no whole JSON'],
    ['another thing', () => '{"format":1,"values":"mine"}', 'it has another form'],
    ['of another run', (text) => text.replace(/"fingerprint":"..../, '"fingerprint":"0000'), 'of another fingerprint'],
    ['changed by one digit', (text) => text.replace('0.1', '0.2'), 'its checksum is wrong'],
  ])('does not believe a file that is %s', async (_, damage, reason) => {
    await open().ask();
    const [file] = await readdir(join(folder, 'statistics'));
    const path = join(folder, 'statistics', file as string);
    const text = await readFile(path, 'utf8');
    await writeFile(path, damage(text));
    const { ask, collected, notes } = open();
    expect(await ask()).toEqual(results);
    expect(notes).toEqual([`statistics/${file!.slice(0, 8)}….json is not what was kept there (${notes[0]?.split(/[()]/)[1]}): collected anew`]); // prettier-ignore
    expect([collected(), notes[0]?.includes(reason), await readFile(path, 'utf8')]).toEqual([1, true, text]);
  });

  it('says that it serves what an earlier run kept, and where that lies', async () => {
    await open().ask();
    const other = { wanted: [['a', ['f']]] } as const; // prettier-ignore
    await open().ask(other);
    const { ask, collected, notes } = open();
    expect(await ask()).toEqual(results);
    // Once, however many are read.
    await ask();
    await ask(other);
    expect([collected(), notes]).toEqual([0, [expect.stringMatching(/3 samples .*\(in statistics\/\)$/)]]);
  });

  it('asks for every value that is wanted', async () => {
    const wanted = { wanted: [['a', ['f']], ['b', ['f']]] } as const; // prettier-ignore
    await open().ask(wanted);
    const { ask, collected } = open();
    // What was collected has no b.
    await ask(wanted);
    expect(collected()).toBe(1);
    const store = statisticsStore(join(folder, 'statistics'), () => undefined);
    const other = new Map([['a', [0.1]], ['c', [0.1]]]); // prettier-ignore
    const collect = () => store.recall({ ...facts, ...wanted, data: 'other' }, keeping, async () => (asked++, other));
    let asked = 0;
    await collect();
    await collect();
    expect(asked).toBe(2);
  });

  it('serves the same run again without a word', async () => {
    const { ask, collected, notes } = open();
    await ask();
    expect(await ask()).toEqual(results);
    expect([collected(), notes]).toEqual([1, []]);
  });

  it.each<[string, unknown]>([
    ['of another value', [['b', [0.1]]]],
    ['too few', []],
    ['one value too many', [['a', [0.1]], ['b', [0.1]]]], // prettier-ignore
    ['a result too many', [['a', [0.1, 0.2]]]],
    ['a result of another form', [['a', ['0.1']]]],
  ])('does not believe a file that is whole and has results %s', async (_, values) => {
    await open().ask();
    const [file] = await readdir(join(folder, 'statistics'));
    const path = join(folder, 'statistics', file as string);
    const head = JSON.parse(await readFile(path, 'utf8')) as object;
    const sha256 = createHash('sha256').update(JSON.stringify(values)).digest('hex');
    await writeFile(path, JSON.stringify({ ...head, sha256, values }));
    const { ask, collected, notes } = open();
    expect(await ask()).toEqual(results);
    expect([collected(), notes]).toEqual([1, [expect.stringContaining('it has other values')]]);
  });

  it('goes on where nothing can be written, and says so', async () => {
    await writeFile(join(folder, 'statistics'), 'a file is in the way');
    const { ask, notes } = open();
    expect(await ask()).toEqual(results);
    expect(notes.join('\n')).toContain('the statistics could not be kept: ');
  });

  it('goes on where something that is no file has the name, and says so', async () => {
    await open().ask();
    const [file] = await readdir(join(folder, 'statistics'));
    const path = join(folder, 'statistics', file as string);
    await rm(path);
    await mkdir(path);
    const { ask, notes } = open();
    expect(await ask()).toEqual(results);
    expect(notes).toEqual([
      expect.stringMatching(/is not what was kept there \(.*EISDIR.*\): collected anew/),
      expect.stringMatching(/could not be kept: /),
    ]);
  });

  it('discards what this run kept and nothing else', async () => {
    await open().ask();
    const { store, ask } = open();
    await ask({ model: 'n' });
    expect(await readdir(join(folder, 'statistics'))).toHaveLength(2);
    await store.discard();
    expect(await readdir(join(folder, 'statistics'))).toHaveLength(1);
    // Also where it is gone already, and the folder with it.
    await store.discard();
  });

  it.each([14, 15, 20])(
    'of %d files leaves the newest, sixteen in all, and no halves, and files of others',
    async (count) => {
      const at = join(folder, 'statistics');
      await mkdir(at);
      const nameOf = (i: number): string => `${i.toString(16).padStart(64, '0')}.json`;
      for (let i = 0; i < count; i++) {
        await writeFile(join(at, nameOf(i)), '');
        // The names' order is not that of their ages.
        const age = (7 * i) % 41;
        await utimes(join(at, nameOf(i)), 1000 - age, 1000 - age);
      }
      const byAge = Array.from({ length: count }, (_, i) => i).sort((a, b) => ((7 * a) % 41) - ((7 * b) % 41));
      const others = ['mine.json', 'mine.json.part', 'mine.txt', `${nameOf(0)}.bak`];
      for (const name of others) await writeFile(join(at, name), '');
      await writeFile(join(at, `${nameOf(0)}.part`), 'half');
      await open().ask();
      const names = await readdir(at);
      expect(names.filter((one) => one.startsWith('0000') && one.endsWith('.json')).sort()).toEqual(byAge.slice(0, 15).map(nameOf).sort()); // prettier-ignore
      expect(names.filter((one) => /^[0-9a-f]{64}\.json$/.test(one))).toHaveLength(Math.min(16, count + 1));
      expect(names).toEqual(expect.arrayContaining(others));
      expect(names.filter((one) => one.endsWith('.part'))).toEqual(['mine.json.part']);
    },
  );
});
