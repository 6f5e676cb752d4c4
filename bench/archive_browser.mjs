#!/usr/bin/env node
// Whether dist/reader.js gives archives back in a browser, byte for byte, and how fast: a page that a headless Chromium opens.
//
//   npm run build && node bench/archive_browser.mjs [browser=/usr/bin/chromium] <model.onnx> …
import { spawnSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { packModel } from '../dist/archive/pack.js';

const words = process.argv.slice(2);
const browser = words.find((word) => word.startsWith('browser='))?.slice(8) ?? '/usr/bin/chromium';
const files = words.filter((word) => !word.startsWith('browser='));
if (files.length === 0 || spawnSync(browser, ['--version']).status !== 0) {
  console.error('usage: node bench/archive_browser.mjs [browser=/usr/bin/chromium] <model.onnx> …');
  process.exit(2);
}
const reader = await readFile(new URL('../dist/reader.js', import.meta.url));
const models = [];
for (const file of files) {
  const model = new Uint8Array(await readFile(file));
  const { archive } = await packModel(model, { open: () => Promise.reject(new Error('external data')) });
  models.push({ name: basename(file), model, archive, hash: createHash('sha256').update(model).digest('hex') });
}

const page = `<!doctype html><script type="module">
import { readArchive } from './reader.js';
const found = [];
for (let i = 0; i < ${models.length}; i++) {
  const bytes = new Uint8Array(await (await fetch('/' + i)).arrayBuffer());
  let best = Infinity;
  let model;
  for (let round = 0; round < 5; round++) {
    const start = performance.now();
    model = readArchive(bytes).model();
    best = Math.min(best, performance.now() - start);
  }
  const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', model));
  const cut = bytes.slice(0, bytes.length - 5);
  let error = '';
  try { readArchive(cut); } catch (caught) { error = caught.message; }
  found.push({ hash: [...digest].map((byte) => byte.toString(16).padStart(2, '0')).join(''), best, error });
}
await fetch('/done', { method: 'POST', body: JSON.stringify(found) });
</script>`;
const answer = new Promise((resolve) => {
  const server = createServer((request, response) => {
    if (request.url === '/done') {
      let body = '';
      request.on('data', (part) => (body += part)).on('end', () => resolve({ found: JSON.parse(body), server }));
      response.end();
    } else if (request.url === '/reader.js') response.writeHead(200, { 'content-type': 'text/javascript' }).end(reader);
    else if (request.url === '/') response.writeHead(200, { 'content-type': 'text/html' }).end(page);
    else response.end(models[Number(request.url?.slice(1))]?.archive ?? '');
  }).listen(0, '127.0.0.1', async () => {
    const profile = await mkdtemp(join(tmpdir(), 'qtool-browser-'));
    const address = `http://127.0.0.1:${server.address().port}/`;
    const child = spawn(browser, ['--headless', '--no-sandbox', '--disable-gpu', `--user-data-dir=${profile}`, address], { stdio: 'ignore' }); // prettier-ignore
    void answer.then(() => {
      child.once('exit', () => void rm(profile, { recursive: true, force: true }));
      child.kill();
    });
  });
});
const { found, server } = await answer;
server.close();
console.log(spawnSync(browser, ['--version'], { encoding: 'utf8' }).stdout.trim());
console.log('| model | bytes | archive | the same | opened and decoded | cut off |');
console.log('|---|--:|--:|---|--:|---|');
for (const [i, { hash, best, error }] of found.entries()) {
  const { name, model, archive, hash: wanted } = models[i];
  console.log(
    `| ${name} | ${model.length} | ${archive.length} | ${hash === wanted} | ${best.toFixed(0)} ms | ${error} |`,
  );
}
process.exitCode = found.every(({ hash }, i) => hash === models[i].hash) ? 0 : 1;
