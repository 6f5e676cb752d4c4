import { textOf } from './explain.ts';
import { inChild, onnxruntimePath, tinyModel, type Ended } from './child.ts';

// A driver may end the process that asks for its adapter, and Dawn writes to stderr past JavaScript: so another process asks.
const script = `
let text = '';
process.stdin.on('data', (part) => (text += part));
process.stdin.on('end', async () => {
  const { onnxruntime, tiny } = JSON.parse(text);
  const say = (answer) => process.stdout.write(JSON.stringify(answer));
  try {
    const ort = require(onnxruntime);
    const options = { executionProviders: ['webgpu'], logSeverityLevel: 4, extra: { 'session.disable_cpu_ep_fallback': '1' } };
    const session = await ort.InferenceSession.create(new Uint8Array(Buffer.from(tiny, 'base64')), options);
    const { y } = await session.run({ x: new ort.Tensor('float32', Float32Array.of(2), [1]) });
    say(y.data[0] === -2 ? {} : { problem: 'the adapter computes ' + y.data[0] + ' for -2' });
  } catch (error) {
    say({ problem: String(error && error.message) });
  }
});
`;

/** Drivers that must be loaded first take their time, a first time above all. */
const longest = 60_000;

/**
 * Whether onnxruntime finds a WebGPU adapter here that computes: a graph of one node is run on it in a process of its own, which a driver may
 * end without ending this one.
 * @returns why there is none, as the end of "there is none: ..."; undefined where there is one.
 */
export async function webgpuProblem(signal?: AbortSignal): Promise<string | undefined> {
  try {
    const input = { onnxruntime: onnxruntimePath(), tiny: tinyModel() };
    return problemOf(await inChild(script, input, { timeout: longest, ...(signal && { signal }) }));
  } catch (error) {
    return textOf(error);
  }
}

/** What the process that asked for an adapter came to. */
export function problemOf({ code, signal, out, err }: Ended): string | undefined {
  if (signal === 'SIGKILL') return `no answer came within ${longest / 1000} seconds`;
  if (signal !== null) return `the driver ended the process that asked (${signal})`;
  if (out === '') return `the process that asked ended with code ${code}`;
  const { problem } = JSON.parse(out) as { problem?: string };
  if (problem === undefined) return undefined;
  // onnxruntime names its source file and the condition before what it says, and Dawn says on stderr what it misses.
  const said = problem.replace(/^[^]*? was false\. /, '').replace(/\s+/g, ' ').trim(); // prettier-ignore
  const missed = /^Warning: (.*)$/m.exec(err)?.[1];
  return missed === undefined ? said : `${said} (${missed})`;
}
