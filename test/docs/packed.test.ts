import { spawnSync } from 'node:child_process';
import { mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { openTree } from '../../src/data/tree.ts';
import { pages, pageText, root } from './pages.ts';

it('packs a package without scripts, and leaves the checkout its own', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'qtool-packed-'));
  try {
    const before = await readFile(join(root, 'package.json'), 'utf8');
    const args = [join(root, 'scripts/pack.mjs'), '--pack-destination', folder];
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
    expect([status, stderr.includes('npm error')]).toEqual([0, false]);
    const [file = ''] = await readdir(folder);
    await writeFile(join(folder, 'package.tar'), gunzipSync(await readFile(join(folder, file))));
    const packed = openTree(join(folder, 'package.tar')).open();
    const own = JSON.parse(before) as Record<string, unknown>;
    const inside = JSON.parse(new TextDecoder().decode(packed.read('package/package.json'))) as typeof own;
    packed.close();
    expect(inside).toEqual({ ...own, scripts: undefined });
    expect(await readFile(join(root, 'package.json'), 'utf8')).toBe(before);
  } finally {
    await rm(folder, { recursive: true });
  }
}, 300_000);

it('every line of the pages that installs qtool keeps onnxruntime where only the registry is reached', () => {
  const installs = pages.flatMap((page) =>
    [...pageText(page).matchAll(/^.*\bnpm (?:i|install) .*(?:\.tgz|<tarball).*$/gm)].map(([line]) => `${page}: ${line.trim()}`),
  ); // prettier-ignore
  expect(installs.length).toBeGreaterThan(3);
  expect(installs.filter((line) => !line.includes('ONNXRUNTIME_NODE_INSTALL=skip npm'))).toEqual([]);
});

it('the number of schedules that a page gives is the number there is', async () => {
  const count = (await readdir(join(root, 'schedules'))).length;
  const words = 'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen twenty'; // prettier-ignore
  const given = pages.flatMap((page) =>
    [...pageText(page).matchAll(/\b(\w+) (?:schedules ship|come with qtool \(`qtool schedules`)/gi)].map(([, word = '']) => word),
  ); // prettier-ignore
  const numbers = given.map((word) => words.split(' ').indexOf(word.toLowerCase())).filter((n) => n >= 0);
  expect(numbers.filter((n) => n !== count)).toEqual([]);
});
