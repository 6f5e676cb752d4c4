// A page's files on this machine alone, with the headers that let WebAssembly have threads ("cross-origin isolation").
//   node examples/browser/serve.mjs <model.onnx or archive> [port]
import { existsSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const types = { '.html': 'text/html; charset=utf-8', '.mjs': 'text/javascript', '.js': 'text/javascript', '.wasm': 'application/wasm' }; // prettier-ignore
// All of them on every response: where a script lacks them, onnxruntime-web waits for its threads for ever.
const isolated = {
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-embedder-policy': 'require-corp',
  'cross-origin-resource-policy': 'same-origin',
  'cache-control': 'no-store',
};

/** The folder of onnxruntime-web's scripts and WebAssembly. @throws where it is not installed. */
export const webRuntime = () => dirname(createRequire(import.meta.url).resolve('onnxruntime-web'));

/**
 * Serves files on 127.0.0.1.
 * @param {Record<string, string | Uint8Array>} files path of an address → a file or its bytes; one that ends in '/' → a folder, of which the files directly in it are served
 * @param {number} [port] 0: one that is free
 * @returns {Promise<{ address: string, close: () => void }>} the address of '/', with a slash at its end
 */
export async function serve(files, port = 0) {
  const found = (path) => {
    if (Object.hasOwn(files, path)) return files[path];
    const [, folder, name] = /^(.*\/)(\w[\w.-]*)$/.exec(path) ?? [];
    return folder !== undefined && Object.hasOwn(files, folder) ? join(files[folder], name) : undefined;
  };
  const server = createServer(async (request, response) => {
    const path = new URL(request.url, 'http://127.0.0.1').pathname;
    const what = found(path);
    const body = typeof what === 'string' ? await readFile(what).catch(() => undefined) : what;
    const type = types[extname(typeof what === 'string' ? what : path)] ?? 'application/octet-stream';
    response.writeHead(body ? 200 : 404, { ...isolated, 'content-type': type }).end(body ?? `there is no ${path}`);
  });
  await new Promise((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  return { address: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
}

/** The files of the example's page around a model. */
export const page = (model) => ({
  '/': fileURLToPath(new URL('index.html', import.meta.url)),
  '/classify.mjs': fileURLToPath(new URL('classify.mjs', import.meta.url)),
  '/reader.js': fileURLToPath(new URL('../../dist/reader.js', import.meta.url)),
  '/ort/': webRuntime(),
  '/model': model,
});

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [model, port = '8080'] = process.argv.slice(2);
  const problem = await wrong(model, port);
  if (problem) {
    console.error(problem);
    process.exit(2);
  }
  const { address } = await serve(page(model), Number(port));
  console.log(`${address} classifies images with ${model} (Ctrl-C ends it)`);
}

/** What is wrong with what the user gave or has, in a line. */
async function wrong(model, port) {
  if (!model || !/^\d+$/.test(port))
    return 'usage: node examples/browser/serve.mjs <model.onnx or archive> [port=8080]';
  if (!(await stat(model).catch(() => undefined))?.isFile()) return `${model}: there is no such file`;
  try {
    webRuntime();
  } catch {
    return 'onnxruntime-web is not installed: npm install onnxruntime-web';
  }
  if (!existsSync(page(model)['/reader.js'])) return 'dist/reader.js is not built: npm run build';
  return undefined;
}
