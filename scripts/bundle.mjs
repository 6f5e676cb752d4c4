// Bundles the command line into few files: Node.js opens some 500 modules for `qtool quantize` otherwise, half a second of every call.
//   node scripts/bundle.mjs [folder=dist/cli]
import { rm } from 'node:fs/promises';
import { resolve } from 'node:path';
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
  external: ['onnxruntime-node', 'sharp'],
  // Packages in CommonJS call `require` for what Node.js has built in.
  banner: {
    js: "import { createRequire as bundleRequire } from 'node:module';\nconst require = bundleRequire(import.meta.url);",
  },
  logLevel: 'warning',
});
