import { createHash } from 'node:crypto';
import { mkdtemp, readFile, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Dataset } from '../../src/data/types.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import type { Model } from '../../src/graph/model.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import { sqnr } from '../../src/metrics/sqnr.ts';
import type { Pass, PassResult } from '../../src/passes/pass.ts';
import type { RunEvent } from '../../src/run/event.ts';
import { run, type RunOptions } from '../../src/run/run.ts';
import type { Fallback, Gate } from '../../src/schedule/types.ts';
import { floats } from '../helpers/context.ts';
import { noise } from '../helpers/models.ts';

/** Of the present test: a folder, and the one in it that runs write to. */
export let folder: string;
export let out: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'qtool-outcome-'));
  out = join(folder, 'out');
});
afterEach(() => rm(folder, { recursive: true, force: true }));

/** Samples of noise; `read` counts them. */
export function noisy(source: string, count: number, whenRead: (sample: number) => void = () => undefined) {
  const set: Dataset & { read: number } = {
    info: { kind: 'random', source, samples: count, labelled: false, notes: [] },
    fingerprint: (limit) => `${source} ${limit}`,
    read: 0,
    async *samples(limit = count) {
      for (let i = 0; i < Math.min(count, limit); i++) {
        set.read++;
        whenRead(i);
        yield { id: String(i), feeds: { x: floats(noise(i, 8), [1, 8]) } };
      }
    },
  };
  return set;
}

/** x [N, 8] → `one` → Relu → `two` → y; `off` is added to the first weight. */
export function net(off = 0, batch: number | string = 'N'): Model {
  const matrix = (name: string, seed: number, first = 0) =>
    makeTensor(name, 'float32', [8, 8], noise(seed, 64).map((v, i) => (i === 0 ? v + first : v))); // prettier-ignore
  return makeModel({
    opset: 13,
    ir: 8,
    inputs: [makeValue('x', 'float32', [batch, 8])],
    outputs: [makeValue('y', 'float32', [batch, 8])],
    initializers: [
      ...[matrix('w1', 1, off), matrix('w2', 2)],
      // Of floating-point type, which no node reads; and one of integers.
      ...[
        makeTensor('half', 'float16', [3], new Uint16Array(3)),
        makeTensor('twice', 'float64', [5], new Float64Array(5)),
      ],
      ...[
        makeTensor('brain', 'bfloat16', [7], new Uint16Array(7)),
        makeTensor('ids', 'int64', [9], new BigInt64Array(9)),
      ],
    ],
    nodes: [
      makeNode('MatMul', ['x', 'w1'], ['h'], {}, { name: 'one' }),
      makeNode('Relu', ['h'], ['r']),
      makeNode('MatMul', ['r', 'w2'], ['y'], {}, { name: 'two' }),
    ],
  });
}
export const float = net();
export const better = net(0.001);
export const nothing = { changed: [], skipped: [] };
export const done = (model: Model): PassResult => ({
  model,
  changed: [{ layer: 'one', text: 'shifted' }],
  skipped: [],
});

type Applied = (...given: Parameters<Pass['apply']>) => PassResult | Promise<PassResult>;
export interface Policy {
  readonly apply: Applied;
  readonly gate?: Gate;
  readonly fallback?: Fallback;
}

/** Runs these passes one after the other. */
export async function ran(policies: readonly Policy[], more: Partial<RunOptions> = {}) {
  const events: RunEvent[] = [];
  const stages = policies.map(({ apply, ...policy }, i) => ({
    ...{ index: i + 1, instance: `p${i + 1}`, class: 'Own', options: {}, at: `s.yaml:${i + 1}:1`, gate: undefined },
    ...{ clock: { epoch: i, start: i, end: i + 1, frequency: 1 } },
    ...policy,
    pass: { name: 'test/own', section: 'pruners', classes: ['Own'], summary: '', source: '', apply } as never,
  }));
  const data = { calibration: noisy('calibration', 6), validation: noisy('validation', 4), notes: ['of the data'], metrics: [], folder, batchSize: 2 }; // prettier-ignore
  const waiting = [{ name: 'decay', at: 's.yaml:9:1', reason: 'it trains' }];
  const outcome = run({
    ...{ model: float, data, scheduleText: 'version: 1', metrics: [sqnr()], outDir: out, force: false },
    schedule: { file: 's.yaml', stages, waiting, notes: ['of the schedule'] },
    ...{ measure: true, latency: false, batchSize: 2, signal: new AbortController().signal, command: 'qtool quantize' },
    log: (event) => events.push(event),
    render: (report) => ({ html: `<p>${report.result.status}</p>` }),
    ...more,
  });
  const texts = (kind: 'phase' | 'note' | 'progress'): string[] =>
    events.flatMap((event) => (event.kind === kind && 'text' in event ? [event.text] : []));
  return { report: await outcome.catch((error: unknown) => Promise.reject(Object.assign(error as Error, { texts, data }))), events, texts, data }; // prettier-ignore
}
export const files = async (): Promise<string[]> => (await readdir(out)).sort();
export const fileHash = async (name: string): Promise<string> =>
  createHash('sha256').update(await readFile(join(out, name))).digest('hex'); // prettier-ignore
export const reported = async () => JSON.parse(await readFile(join(out, 'report.json'), 'utf8')) as { result: object; warnings: string[] }; // prettier-ignore
