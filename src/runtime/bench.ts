import type { Feeds } from '../data/types.ts';
import { modelBytes } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import { fixedBatch } from '../data/layout.ts';
import { modelInputs } from '../graph/query.ts';
import { checkCancelled } from './capture.ts';
import { inFreshProcess, type Fresh } from './fresh.ts';
import { openSession, type Session } from './session.ts';
import { quantile, withRows } from './time.ts';

/** Times of single runs at one batch size. */
export interface BenchRuns {
  readonly batch: number;
  /** Milliseconds that half and nine tenths of the runs stay below. */
  readonly p50: number;
  readonly p90: number;
  /** Samples a second, over all runs. */
  readonly perSecond: number;
  readonly runs: number;
}

export interface BenchFigures extends Fresh {
  readonly path: string;
  readonly bytes: number;
  readonly batches: readonly BenchRuns[];
}

export interface BenchOptions {
  readonly batches: readonly number[];
  readonly threads: number;
  /** For each model and batch size, after warming up. */
  readonly seconds: number;
  readonly signal: AbortSignal;
  readonly progress: (done: number, text: string) => void;
}

const [leastRuns, mostRuns] = [5, 2000];

/** Fresh processes a model is loaded in; the middle one counts. */
const processes = 3;

/**
 * Load time, memory, and how long runs take, of several models of the same inputs. They run in turn, each time another one
 * first, so that whatever slows the machine meets all of them.
 * @param models as read from files: `path` is where they are loaded from.
 * @param feeds samples of any number, repeated along axis 0 to each batch size that the models leave free.
 */
export async function bench(models: readonly Model[], feeds: Feeds, options: BenchOptions): Promise<BenchFigures[]> {
  const { threads, signal, progress } = options;
  const fixed = models.map((model) => fixedBatch(modelInputs(model))).find((size) => size !== undefined);
  const sizes = fixed === undefined ? options.batches : [fixed];
  const steps = models.length * processes + sizes.length;
  const sessions: Session[] = [];
  try {
    // Here first: what does not load is said as everywhere.
    for (const model of models) sessions.push(await openSession(model, { threads, packed: true }));
    const fresh: Fresh[] = [];
    for (const [i, model] of models.entries()) {
      const found: Fresh[] = [];
      for (let n = 0; n < processes; n++) {
        progress((i * processes + n) / steps, `loading ${model.path ?? ''}`);
        checkCancelled(signal);
        found.push(await inFreshProcess(model.path ?? '', feeds, threads, signal));
      }
      const middle = (of: (one: Fresh) => number): number => quantile(found.map(of), 0.5);
      fresh.push({ loadMilliseconds: middle((f) => f.loadMilliseconds), memory: middle((f) => f.memory) });
    }
    const timed: (readonly number[])[][] = [];
    for (const [i, batch] of sizes.entries()) {
      progress((models.length * processes + i) / steps, `running at batch ${batch}`);
      const given = models.map((model) => withRows(model, feeds, batch));
      timed.push(await inTurn(sessions, given, options));
    }
    return models.map((model, m) => ({
      path: model.path ?? '',
      bytes: modelBytes(model),
      ...fresh[m]!,
      batches: sizes.map((batch, i) => figures(batch, timed[i]?.[m] ?? [])),
    }));
  } finally {
    for (const session of sessions) await session.close();
  }
}

/** Milliseconds of every run, by session. */
async function inTurn(
  sessions: readonly Session[],
  feeds: readonly Feeds[],
  { seconds, signal }: BenchOptions,
): Promise<number[][]> {
  const times = sessions.map((): number[] => []);
  const run = async (i: number): Promise<number> => {
    const start = performance.now();
    await sessions[i]?.run(feeds[i]!);
    return performance.now() - start;
  };
  // The first run allocates, the second is still cold.
  for (const i of sessions.keys()) for (let n = 0; n < 3; n++) if ((await run(i)) > 1000) break;
  const end = performance.now() + seconds * 1000 * sessions.length;
  for (let round = 0; round < mostRuns && (round < leastRuns || performance.now() < end); round++) {
    checkCancelled(signal);
    for (let k = 0; k < sessions.length; k++) {
      const i = (round + k) % sessions.length;
      times[i]?.push(await run(i));
    }
  }
  return times;
}

function figures(batch: number, times: readonly number[]): BenchRuns {
  const total = times.reduce((sum, time) => sum + time, 0);
  return {
    ...{ batch, p50: quantile(times, 0.5), p90: quantile(times, 0.9) },
    ...{ perSecond: (1000 * batch * times.length) / total, runs: times.length },
  };
}
