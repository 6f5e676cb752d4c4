/**
 * Latency of several models in one process, interleaved: node latency.mjs <request.json>
 *
 * Request: { models: [path…], inputs: [{ name?, type, dims, below?, constant? }…], batches: [1, 32], seconds, output }.
 * The first model is the float one; each round runs every model once, in an order that moves on by one a round, so that a
 * slow moment of the machine hits all of them. One intra-op thread, no spinning: with several threads that spin, sessions
 * that alternate disturb one another.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { median } from './measure.mjs';

const request = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const options = {
  intraOpNumThreads: 1,
  interOpNumThreads: 1,
  logSeverityLevel: 3,
  extra: { session: { intra_op: { allow_spinning: '0' } } },
};

const results = request.models.map(() => ({}));
const sessions = [];
for (const [at, model] of request.models.entries()) {
  try {
    sessions.push({ at, session: await InferenceSession.create(model, options) });
  } catch (error) {
    results[at].failure = String(error.message).split('\n')[0].slice(0, 200);
  }
}
for (const batch of request.batches) {
  const times = await timed(batch);
  for (const [place, { at }] of sessions.entries()) {
    const ratio = median(times[place]) / median(times[0]);
    results[at][`batch${batch}`] = { ms: median(times[place]), ratio, ...spread(times[place], times[0]) };
  }
}
writeFileSync(request.output, JSON.stringify(results));

/** The same ratio of medians in each fifth of the rounds: how far the machine's unrest moves it. */
function spread(mine, float) {
  const length = Math.floor(mine.length / 5);
  const ratios = [0, 1, 2, 3, 4].map((part) => {
    const of = (times) => median(times.slice(part * length, (part + 1) * length));
    return of(mine) / of(float);
  });
  return { least: Math.min(...ratios), most: Math.max(...ratios), rounds: mine.length };
}

/** Milliseconds [model][round]. */
async function timed(batch) {
  const feeds = sessions.map(({ session }) => feedsFor(session, batch));
  for (let warm = 0; warm < 3; warm++) for (const [at, { session }] of sessions.entries()) await session.run(feeds[at]);
  const times = sessions.map(() => []);
  const started = performance.now();
  for (let round = 0; round < 20 || performance.now() - started < request.seconds * 1000; round++) {
    for (let step = 0; step < sessions.length; step++) {
      const at = (step + round) % sessions.length;
      const before = performance.now();
      await sessions[at].session.run(feeds[at]);
      times[at].push(performance.now() - before);
    }
    if (round === 999) break;
  }
  return times;
}

function feedsFor(session, batch) {
  return Object.fromEntries(
    request.inputs.map(({ name, type, dims, below, constant }, at) => {
      const shape = [batch, ...dims];
      const count = shape.reduce((product, size) => product * size, 1);
      let state = 7 + at;
      const next = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
      const value = () => constant ?? (below ? Math.floor(next() * below) : next() * 4 - 2);
      const list = Array.from({ length: count }, value);
      const arrays = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array };
      const data = arrays[type].from(type === 'int64' ? list.map(BigInt) : list);
      return [name ?? session.inputNames[0], new Tensor(type, data, shape)];
    }),
  );
}
