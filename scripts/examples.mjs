// Compiles the examples of docs/library.md against the types of the package, as TypeScript finds them in an installed one, under both ways of
// resolving modules; and runs them in Node.js. `npm run examples` builds first and takes this checkout for the package.
//   node scripts/examples.mjs [folder with node_modules/qtool, node_modules/@types/node] [path of tsc]…
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('..', import.meta.url));
const [installed, ...compilers] = process.argv.slice(2);
if (compilers.length === 0) compilers.push(join(root, 'node_modules/typescript/bin/tsc'));
const page = await readFile(join(root, 'docs/library.md'), 'utf8');
const blocks = [...page.matchAll(/^```(js|ts)\n(.*?)^```$/gms)];
const folder = await mkdtemp(join(installed ?? tmpdir(), 'qtool-examples-'));
const library = join(installed ? join(installed, 'node_modules/qtool') : root, 'dist/index.js');
const write = (name, content) => writeFile(join(folder, name), content);
let failed = 0;
const call = (what, args) => {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: 'utf8' });
  console.log(`${status === 0 ? 'ok  ' : 'FAIL'}  ${what}`);
  if (status === 0) return;
  failed += 1;
  console.log(stdout + stderr);
};

/** A float32 array as NumPy writes it. */
function npy(descr, dims, data) {
  const head = `{'descr': '${descr}', 'fortran_order': False, 'shape': (${dims.join(', ')},), }`;
  const size = Math.ceil((11 + head.length) / 64) * 64;
  const start = Buffer.from(`\x93NUMPY\x01\x00\x00\x00${head.padEnd(size - 11)}\n`, 'latin1');
  start.writeUInt16LE(size - 10, 8);
  return Buffer.concat([start, Buffer.from(data.buffer)]);
}

/** What the page says is in the folder: a classifier of images by their colour, and such images. */
async function furnish() {
  const { makeModel, makeNode, makeTensor, makeValue, writeModel } = await import(pathToFileURL(library).href);
  const fc = Float32Array.from([4, -2, -2, 0.1, -2, 4, -2, 0.1, -2, -2, 4, 0.1, -2, -2, -2, -0.1]);
  const conv = new Float32Array(4 * 27).map((_, i) => (i % 112 === 4 || i % 9 === 4 ? 0.05 : 0.01));
  for (let c = 0; c < 3; c++) conv[(c * 3 + c) * 9 + 4] = 1;
  const model = makeModel({
    inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
    outputs: [makeValue('scores', 'float32', ['N', 4])],
    nodes: [
      makeNode('Conv', ['x', 'conv.weight'], ['c'], { pads: [1, 1, 1, 1] }, { name: 'conv' }),
      makeNode('Relu', ['c'], ['r'], {}, { name: 'relu' }),
      makeNode('GlobalAveragePool', ['r'], ['p'], {}, { name: 'pool' }),
      makeNode('Flatten', ['p'], ['f'], {}, { name: 'flatten' }),
      makeNode('Gemm', ['f', 'fc.weight', 'fc.bias'], ['scores'], { transB: 1 }, { name: 'fc' }),
    ],
    initializers: [
      makeTensor('conv.weight', 'float32', [4, 3, 3, 3], conv),
      makeTensor('fc.weight', 'float32', [4, 4], fc),
      makeTensor('fc.bias', 'float32', [4], Float32Array.from([0, 0, 0, 1.5])),
    ],
  });
  await writeModel(model, join(folder, 'model.onnx'));
  const labels = Int32Array.from({ length: 48 }, (_, i) => i % 4);
  const pixels = Float32Array.from({ length: 48 * 192 }, (_, i) => {
    const [sample, channel] = [Math.floor(i / 192), Math.floor(i / 64) % 3];
    return (labels[sample] === channel ? 0.8 : 0.05) + ((i * 7919) % 31) / 500;
  });
  await write('x.npy', npy('<f4', [48, 3, 8, 8], pixels));
  await write('y.npy', npy('<i4', [48], labels));
  await write('data.yaml', 'version: 1\ndata: { kind: npy, inputs: { x: x.npy }, labels: y.npy }\nmetric: top1\n');
}

try {
  if (!installed) {
    await mkdir(join(folder, 'node_modules/@types'), { recursive: true });
    await symlink(root, join(folder, 'node_modules/qtool'), 'dir');
    await symlink(join(root, 'node_modules/@types/node'), join(folder, 'node_modules/@types/node'), 'dir');
  }
  await write('package.json', '{ "type": "module" }');
  await furnish();
  for (const [i, [, language, code]] of blocks.entries()) await write(`example${i}.${language}`, code);
  for (const [module, moduleResolution] of [
    ['nodenext', 'nodenext'],
    ['esnext', 'bundler'],
  ]) {
    const options = { target: 'es2023', module, moduleResolution, strict: true, noEmit: true, types: ['node'], allowJs: true, checkJs: true, lib: ['es2023'] }; // prettier-ignore
    await write('tsconfig.json', JSON.stringify({ compilerOptions: options, files: blocks.map(([, language], i) => `example${i}.${language}`) })); // prettier-ignore
    for (const tsc of compilers) call(`types, ${moduleResolution} (TypeScript at ${tsc})`, [tsc, '-p', '.']);
  }
  for (const [i, [, language, code]] of blocks.entries()) {
    const module = ts.ModuleKind.ESNext;
    const plain = ts.transpileModule(code, { compilerOptions: { module, target: ts.ScriptTarget.ES2023 } });
    await write(`run${i}.js`, plain.outputText);
    call(`example ${i + 1} (${language})`, [`run${i}.js`]);
  }
} finally {
  await rm(folder, { recursive: true, force: true });
}
process.exitCode = failed === 0 ? 0 : 1;
