// Models in onnxruntime-web in a real, headless Chromium, driven by playwright-core: what web.mjs, archive_browser.mjs and test/browser share.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { serve, webRuntime } from '../examples/browser/serve.mjs';

const usual = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome', '/snap/bin/chromium', '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome']; // prettier-ignore

/** The program: what the variable CHROMIUM says, or the first in the usual places; undefined where there is none. */
export const findChromium = () => process.env.CHROMIUM || usual.find((path) => existsSync(path));

// WebGPU in software (SwiftShader), which needs no graphics card: right, and slow.
const software = ['--enable-unsafe-webgpu', '--enable-features=Vulkan', '--use-webgpu-adapter=swiftshader', '--use-vulkan=swiftshader']; // prettier-ignore

/**
 * A page in Chromium, cross-origin isolated.
 * @param {Record<string, string | Uint8Array>} files what is served beside the page at '/' and onnxruntime-web at '/ort/', as `serve` takes it
 * @param {{ executable: string, webgpu?: boolean }} options
 */
export async function openChromium(files, { executable, webgpu = false }) {
  const empty = new TextEncoder().encode('<!doctype html><title>qtool</title>');
  const server = await serve({ '/index.html': empty, '/ort/': webRuntime(), ...files });
  const args = ['--no-sandbox', ...(webgpu ? software : [])];
  const browser = await chromium.launch({ executablePath: executable, headless: true, args }).catch((error) => {
    server.close();
    throw error;
  });
  const page = await browser.newPage();
  await page.goto(`${server.address}${files['/'] ? '' : 'index.html'}`);
  return {
    page,
    version: browser.version(),
    /** Whether there is an adapter for WebGPU. */
    adapter: () => page.evaluate(async () => Boolean(await navigator.gpu?.requestAdapter())),
    /**
     * Makes a session of a served model, or of an archive by the reader at '/reader.js', and keeps it in the page under its address.
     * @param {string} address '/small.onnx'
     * @param {{ provider?: 'wasm' | 'webgpu', threads?: number, archive?: boolean }} [options]
     */
    load: (address, options = {}) => page.evaluate(load, { address, ...options }),
    /** Outputs by name as { type, dims, data: number[] }. @param {string} address @param {object} feeds as `plain` gives them */
    run: (address, feeds) => page.evaluate(run, { address, feeds }),
    /** Milliseconds of running all feeds, one after the other. */
    time: (address, list) => page.evaluate(time, { address, list }),
    close: async () => {
      await browser.close();
      server.close();
    },
  };
}

/** Feeds or outputs as they are handed to the page and back: integers of 64 bits are bigint. */
export const plain = (feeds) =>
  Object.fromEntries(Object.entries(feeds).map(([name, { type, dims, data }]) => [name, { type, dims, data: Array.from(data) }])); // prettier-ignore

// What follows runs in the page.

async function load({ address, provider = 'wasm', threads = 1, archive = false }) {
  const reader = '/reader.js';
  const ort = await import(provider === 'wasm' ? '/ort/ort.wasm.bundle.min.mjs' : '/ort/ort.webgpu.bundle.min.mjs');
  Object.assign(ort.env.wasm, { numThreads: threads });
  ort.env.logLevel = 'error';
  let model = new Uint8Array(await (await fetch(address)).arrayBuffer());
  if (archive) model = (await import(reader)).readArchive(model).model();
  const session = await ort.InferenceSession.create(model, { executionProviders: [provider] });
  const tensors = (feeds) =>
    Object.fromEntries(
      Object.entries(feeds).map(([name, { type, dims, data }]) => [name, new ort.Tensor(type, data, dims)]),
    );
  globalThis.sessions = { ...globalThis.sessions, [address]: { tensors, run: (feeds) => session.run(feeds) } };
}

async function run({ address, feeds }) {
  const { tensors, run } = globalThis.sessions[address];
  const found = {};
  for (const [name, { type, dims, data }] of Object.entries(await run(tensors(feeds))))
    found[name] = { type, dims: [...dims], data: Array.from(data) };
  return found;
}

async function time({ address, list }) {
  const { tensors, run } = globalThis.sessions[address];
  const all = list.map(tensors);
  const start = performance.now();
  for (const feeds of all) await run(feeds);
  return performance.now() - start;
}
