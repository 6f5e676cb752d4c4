// Bundles the command line into few files: Node.js opens some 500 modules for `qtool quantize` otherwise, half a second of every call.
// Beside its folder comes reader.js, the reader of archives: one file of less than 10 kB for browsers and Node.js.
//   node scripts/bundle.mjs [folder=dist/cli]
import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));
const outdir = process.argv[2] ?? 'dist/cli';

await rm(resolve(root, outdir), { recursive: true, force: true });
await build({
  absWorkingDir: root,
  entryPoints: ['src/cli/main.ts'],
  outdir,
  bundle: true,
  // Commands are still loaded when they are called, not before.
  splitting: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  // They load binaries from beside themselves.
  external: ['onnxruntime-node', 'sharp', '@huggingface/tokenizers'],
  // Packages in CommonJS call `require` for what Node.js has built in.
  banner: {
    js: "import { createRequire as bundleRequire } from 'node:module';\nconst require = bundleRequire(import.meta.url);",
  },
  logLevel: 'warning',
});

/** The error class, in fewer bytes: what is thrown is a QtoolError to the library too. */
const error = `export class QtoolError extends Error {
  constructor(code, message, where) {
    super(message);
    Object.assign(this, where, { code, [Symbol.for('qtool.error')]: true });
  }
}`;
const ownError = {
  name: 'own-error',
  setup(own) {
    own.onLoad({ filter: /[\\/]src[\\/]util[\\/]error\.ts$/ }, () => ({ contents: error, loader: 'js' }));
  },
};
// Of what the reader gives back nothing has these names, and nothing of JavaScript's has.
const inner =
  'alphabet bit blob bytes cuts end field fields files flagged numbers outside owner parts period size slots spans start symbols tensors text unpack zero';
const shorter = { Uint8Array: 'bytes8', Uint16Array: 'words16', Uint32Array: 'words32', Int32Array: 'integers' };
for (const name of ['abs', 'imul', 'min', 'max', 'floor', 'clz32']) shorter[`Math.${name}`] = name;

await build({
  absWorkingDir: root,
  entryPoints: ['src/archive/index.ts'],
  outfile: join(outdir, '..', 'reader.js'),
  bundle: true,
  minify: true,
  format: 'esm',
  target: 'es2022',
  plugins: [ownError],
  mangleProps: new RegExp(`^(${inner.replaceAll(' ', '|')})$`),
  define: shorter,
  inject: ['scripts/short_names.mjs'],
  logLevel: 'warning',
});
