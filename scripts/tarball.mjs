// `npm run tarball`: packs qtool, installs it in an empty folder as others do, and tries it there: what the README names is inside, the demo, the
// library's examples in JavaScript and under TypeScript 5.9 and 6, a user's module, a missing runtime. Installing needs npm's registry; all that
// is run afterwards has no network, where `unshare` can take it away. Some minutes; no part of `npm test`.
//   node scripts/tarball.mjs [--keep] [another npm's npm-cli.js]
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const keep = process.argv.includes('--keep');
const other = process.argv.slice(2).find((argument) => argument !== '--keep');
const npm = other ? [process.execPath, resolve(other)] : ['npm'];
const offline = spawnSync('unshare', ['-rn', 'true']).status === 0 ? ['unshare', '-rn'] : [];
const folder = mkdtempSync(join(tmpdir(), 'qtool-tarball-'));
const home = join(folder, 'node_modules/qtool');
let failed = 0;

function check(what, good, details = '') {
  console.log(`${good ? 'ok  ' : 'FAIL'}  ${what}`);
  if (good) return;
  failed += 1;
  if (details !== '') console.log(details.trimEnd().replace(/^/gm, '        '));
}

function call(what, [file, ...args], { cwd = folder, status = 0, says = /(?:)/, env = {} } = {}) {
  const start = performance.now();
  const result = spawnSync(file, args, { cwd, encoding: 'utf8', env: { ...process.env, ...env } });
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const said = `${result.stdout}${result.stderr}${result.error?.message ?? ''}`;
  check(`${what}  ${seconds} s`, result.status === status && says.test(said), `exit ${result.status}\n${said}`);
  return said;
}

const qtool = (...args) => [...offline, join(folder, 'node_modules/.bin/qtool'), ...args];

/** Relative links and paths in code that the pages name, which are not beside them. */
function deadLinks() {
  const pages = readdirSync(home, { recursive: true }).filter(
    (file) => file.endsWith('.md') && !file.includes('node_modules'),
  );
  return pages.flatMap((page) => {
    const text = readFileSync(join(home, page), 'utf8').replace(/^```.*?^```$/gms, '');
    const links = [...text.matchAll(/\]\(([^)#\s:]+)(?:#[^)]*)?\)/g)].map(([, link]) =>
      join(home, dirname(page), link),
    );
    const paths = [...text.matchAll(/`((?:docs|examples|configs|schedules)\/[\w./-]*)`/g)].map(([, path]) =>
      join(home, path),
    );
    return [...links, ...paths]
      .filter((path) => !statSync(path, { throwIfNoEntry: false }))
      .map((path) => `${page}: ${path.slice(home.length + 1)}`);
  });
}

try {
  const pack = [join(root, 'scripts/pack.mjs'), '--json', '--pack-destination', folder];
  const { stdout, stderr } = spawnSync(process.execPath, [...pack, ...(other ? [`--npm=${resolve(other)}`] : [])], {
    encoding: 'utf8',
  });
  if (stdout === '') throw new Error(stderr);
  const [packed] = Object.values(JSON.parse(stdout));
  console.log(`${packed.filename}: ${packed.entryCount} files, ${packed.size} bytes, ${packed.unpackedSize} unpacked`);
  const paths = packed.files.map(({ path }) => path);
  for (const path of [
    'README.md',
    'LICENSE',
    'CHANGELOG.md',
    'CONTRIBUTING.md',
    'bin/qtool',
    'dist/index.js',
    'dist/index.d.ts',
    'dist/cli/main.js',
    'schedules/int8.yaml',
    'configs/mnist.yaml',
    'examples/mnist/lenet-5.onnx',
    'docs/library.md',
  ])
    check(`holds ${path}`, paths.includes(path));
  check('holds no source maps', !paths.some((path) => path.endsWith('.map')));

  // The README's own lines for those who have the package, as a shell reads them; with npm's registry for npm's, and no network for qtool's.
  const page = readFileSync(join(root, 'README.md'), 'utf8');
  const block = page.match(/^From the npm package alone.*?^```sh\n(.*?)^```/ms)?.[1] ?? '';
  const lines = block.trim().split('\n');
  const ours = lines.filter((line) => line.startsWith('npx qtool '));
  check("the README's block is there", ours.length >= 2);
  const shell = other ? `npm() { '${process.execPath}' '${resolve(other)}' "$@"; }\n` : '';
  for (const line of lines.filter((one) => !ours.includes(one)))
    call(line, ['sh', '-ec', shell + line.replace('<clone>/qtool-0.1.0.tgz', join(folder, packed.filename))]);
  check('onnxruntime is there', statSync(join(folder, 'node_modules/onnxruntime-node'), { throwIfNoEntry: false }) !== undefined); // prettier-ignore
  check('has no script that needs what is not inside', !JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')).scripts); // prettier-ignore
  const dead = deadLinks();
  check('names nothing that is not inside', dead.length === 0, dead.join('\n'));

  call('--help', qtool('--help'), { says: /quantize/ });
  const model = join(home, 'examples/mnist/lenet-5.onnx');
  call('init', qtool('init', model, '-o', 'begun'), { says: /schedule\.yaml/ });
  for (const line of ours) call(line, [...offline, 'sh', '-ec', line], { says: /runs\// });
  for (const file of ['runs/demo/report.html', 'runs/demo-mixed/model.onnx', 'runs/compare.html'])
    check(`it leaves ${file}`, statSync(join(folder, file), { throwIfNoEntry: false }) !== undefined);

  call('says that its files are modules', [...npm, 'pkg', 'set', 'type=module']);
  const install = ['i', '@types/node@20', 'ts5@npm:typescript@~5.9', 'ts6@npm:typescript@~6.0'];
  call('installs what the examples are checked by', [...npm, ...install]);
  const compilers = ['ts5', 'ts6'].map((name) => join(folder, 'node_modules', name, 'bin/tsc'));
  const examples = [...offline, process.execPath, join(root, 'scripts/examples.mjs'), folder, ...compilers];
  process.stdout.write(call('the examples of docs/library.md', examples).replace(/^/gm, '      ').trimEnd() + '\n');

  writeFileSync(
    join(folder, 'clip.mjs'),
    `import { edit, layers, makeTensor, QtoolError, z } from 'qtool';
export default {
  options: z.strictObject({ limit: z.number() }),
  apply(model, { limit }) {
    if (limit < 0) throw new QtoolError('schedule', 'limit is below 0', { hint: 'give a positive one' });
    const changed = [];
    const clipped = edit(model, (draft) => {
      for (const { name, weight } of layers(model).layers) {
        const rows = weight.rows().map((value) => Math.max(-limit, Math.min(limit, value)));
        draft.replace(weight.tensor.name, makeTensor(weight.tensor.name, 'float32', weight.dims, weight.fromRows(rows)));
        changed.push({ layer: name, text: 'clipped' });
      }
    });
    return Promise.resolve({ model: clipped, changed, skipped: [] });
  },
};`,
  );
  for (const [limit, expected] of [
    [0.1, { says: /clip\.mjs|clip/ }],
    [-1, { status: 2, says: /^qtool: .*limit is below 0\n {2}hint: give a positive one\n$/m }],
  ]) {
    writeFileSync(
      join(folder, 'own.yaml'),
      `extensions:\n  mine: { class: ./clip.mjs, limit: ${limit} }\npolicies:\n  - extension: { instance_name: mine }\n    epochs: [0]\n`,
    );
    call(
      `a module that imports qtool, limit ${limit}`,
      qtool(
        'quantize',
        model,
        '--schedule',
        'own.yaml',
        '--data',
        'random',
        '-o',
        `own${limit}`,
        '--allow-modules',
        '--no-latency',
        '--quiet',
      ),
      expected,
    );
  }

  const runtime = join(folder, 'node_modules/onnxruntime-node');
  renameSync(runtime, join(folder, 'runtime'));
  call('a missing runtime', qtool('inspect', model), {
    status: 2,
    says: /^qtool: onnxruntime-node, which runs the models, is not installed\n {2}hint: .*\n$/,
  });
  for (const args of [
    ['check', 'int8', '--model', model],
    ['passes'],
    ['schedules'],
    ['explain', 'AdaRound'],
    ['completion', 'bash'],
  ])
    call(`${args[0]} without it`, qtool(...args));
} finally {
  if (keep) console.log(folder);
  else rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failed === 0 ? 0 : 1;
