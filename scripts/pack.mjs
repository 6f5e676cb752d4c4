// `npm run pack`: packs qtool for others. The package's package.json has no scripts, as what they need is not in the package. That is done on a copy and not
// by `prepack`, which npm leaves out where .npmrc says ignore-scripts. Arguments go to `npm pack`, such as --pack-destination; publish the
// .tgz that it writes: `npm publish qtool-<version>.tgz`.
//   node scripts/pack.mjs [--npm=<another npm's npm-cli.js>] [arguments of npm pack]
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const other = process.argv.find((argument) => argument.startsWith('--npm='))?.slice('--npm='.length);
const [file, ...before] = other ? [process.execPath, other] : ['npm'];
const given = process.argv.slice(2).filter((argument) => !argument.startsWith('--npm='));

function pack(args, output = 'inherit') {
  const { status, stdout, error } = spawnSync(file, [...before, 'pack', '--ignore-scripts', ...args], {
    encoding: 'utf8',
    stdio: ['ignore', output, 'inherit'],
  });
  if (status === 0) return stdout;
  console.error(`npm pack ${args.join(' ')}: ${error?.message ?? `exit ${status}`}`);
  process.exit(1);
}

const copy = mkdtempSync(join(tmpdir(), 'qtool-pack-'));
process.on('exit', () => rmSync(copy, { recursive: true, force: true }));
const [{ files }] = Object.values(JSON.parse(pack([root, '--dry-run', '--json'], 'pipe')));
for (const { path } of files) cpSync(join(root, path), join(copy, path), { preserveTimestamps: true });
const { scripts: _, ...published } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
writeFileSync(join(copy, 'package.json'), `${JSON.stringify(published, undefined, 2)}\n`);
pack([copy, ...given]);
