import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { makeModel, makeNode, makeValue } from '../graph/build.ts';
import { encodeModel } from '../graph/model.ts';

/** Where onnxruntime-node is, for scripts that run without qtool. */
export const onnxruntimePath = (): string => createRequire(import.meta.url).resolve('onnxruntime-node');

/** A model of one node, for a first session: x → −x, one float32. Base64, as scripts get it. */
export function tinyModel(): string {
  const [x, y] = [makeValue('x', 'float32', [1]), makeValue('y', 'float32', [1])];
  const model = makeModel({ inputs: [x], outputs: [y], nodes: [makeNode('Neg', ['x'], ['y'])] });
  return Buffer.from(encodeModel(model)).toString('base64');
}

/** How a process ended, and what it printed. */
export interface Ended {
  /** null: a signal ended it, `signal`. */
  readonly code: number | null;
  readonly signal: string | null;
  readonly out: string;
  readonly err: string;
}

/**
 * Runs a script in a process of its own.
 * @param script plain JavaScript of require, since it runs without qtool
 * @param input what it finds on its standard input, as JSON
 * @throws what spawn says where no process can be started, and an AbortError once the signal fires.
 */
export async function inChild(
  script: string,
  input: unknown,
  options: { readonly signal?: AbortSignal; readonly timeout?: number } = {},
): Promise<Ended> {
  const child = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'pipe'], killSignal: 'SIGKILL', ...options }); // prettier-ignore
  let [out, err] = ['', ''];
  child.stdout.on('data', (part: Buffer) => (out += part.toString()));
  child.stderr.on('data', (part: Buffer) => (err += part.toString()));
  // A child that ends early closes the pipe; its exit code says so.
  child.stdin.on('error', () => undefined);
  child.stdin.end(JSON.stringify(input));
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code, signal) => resolve({ code, signal, out, err }));
  });
}
