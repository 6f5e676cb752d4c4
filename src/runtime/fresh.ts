import type { Feeds, Tensor } from '../data/types.ts';
import { QtoolError } from '../util/error.ts';
import { inChild, onnxruntimePath, tinyModel } from './child.ts';

/** What a model costs a process that has nothing else in it. */
export interface Fresh {
  /** Until the session is there, in an onnxruntime that has run another, tiny model. */
  readonly loadMilliseconds: number;
  /** Growth of the resident memory by loading the model and running it once, in bytes. */
  readonly memory: number;
}

// Plain JavaScript, since it runs without qtool: what is freed in this process would hide what a session takes.
const script = `
const { createRequire } = process.getBuiltinModule ? process.getBuiltinModule('node:module') : require('node:module');
let text = '';
process.stdin.on('data', (part) => (text += part));
process.stdin.on('end', async () => {
  const { onnxruntime, path, threads, feeds, tiny } = JSON.parse(text);
  const ort = createRequire(onnxruntime)(onnxruntime);
  const given = {};
  for (const [name, { type, dims, texts, bytes }] of Object.entries(feeds)) {
    if (texts) { given[name] = new ort.Tensor('string', texts, dims); continue; }
    const buffer = new Uint8Array(Buffer.from(bytes, 'base64')).buffer;
    const Kind = { float32: Float32Array, float64: Float64Array, int64: BigInt64Array, uint64: BigUint64Array, int32: Int32Array, uint32: Uint32Array,
      int16: Int16Array, uint16: Uint16Array, int8: Int8Array, uint8: Uint8Array, bool: Uint8Array, float16: globalThis.Float16Array || Uint16Array }[type];
    given[name] = new ort.Tensor(type, new Kind(buffer), dims);
  }
  text = '';
  const options = { executionProviders: ['cpu'], logSeverityLevel: 4, intraOpNumThreads: threads };
  const warm = await ort.InferenceSession.create(new Uint8Array(Buffer.from(tiny, 'base64')), options);
  await warm.run({ x: new ort.Tensor('float32', new Float32Array(1), [1]) });
  const before = process.memoryUsage.rss();
  const start = performance.now();
  const session = await ort.InferenceSession.create(path, options);
  const loadMilliseconds = performance.now() - start;
  await session.run(given);
  process.stdout.write(JSON.stringify({ loadMilliseconds, memory: process.memoryUsage.rss() - before }));
});
`;

/**
 * Loads and runs a model once in a process of its own.
 * @throws QtoolError `runtime` where that fails; whether the model loads at all is best tried before.
 */
export async function inFreshProcess(path: string, feeds: Feeds, threads: number, signal: AbortSignal): Promise<Fresh> {
  const input = { onnxruntime: onnxruntimePath(), path, threads, feeds: plainFeeds(feeds), tiny: tinyModel() };
  const { code, out, err } = await inChild(script, input, { signal }).catch((cause: Error) => {
    if (signal.aborted) throw new QtoolError('cancelled', 'cancelled');
    throw new QtoolError('runtime', `no process could be started: ${cause.message}`, { at: path, cause });
  });
  if (code === 0 && out !== '') return JSON.parse(out) as Fresh;
  const reason = /^.*Error: (.*)$/m.exec(err)?.[1] ?? `it ended with code ${code}`;
  throw new QtoolError('runtime', `the model cannot be run in a process of its own: ${reason}`, { at: path });
}

function plainFeeds(feeds: Feeds): object {
  const plain = ({ type, dims, data }: Tensor): object =>
    ArrayBuffer.isView(data)
      ? { type, dims, bytes: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64') }
      : { type, dims, texts: data };
  return Object.fromEntries(Object.entries(feeds).map(([name, tensor]) => [name, plain(tensor)]));
}
