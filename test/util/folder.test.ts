import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkFolder, makeFolder } from '../../src/util/folder.ts';

describe('makeFolder', () => {
  let root: string;
  beforeEach(async () => (root = await mkdtemp(join(tmpdir(), 'qtool-'))));
  afterEach(() => rm(root, { recursive: true }));

  it('makes all that is missing and says where it began', async () => {
    expect(await makeFolder(join(root, 'a/b/../b/c'))).toBe(join(root, 'a'));
    expect(existsSync(join(root, 'a/b/c'))).toBe(true);
    expect(await makeFolder(join(root, 'a/b'))).toBeUndefined();
    expect(await makeFolder(join(root, 'a/d'))).toBe(join(root, 'a/d'));
  });

  it('may be called for the same folder at once', async () => {
    const path = join(root, 'x/y');
    await Promise.all([makeFolder(path), makeFolder(path)]);
    expect(existsSync(path)).toBe(true);
  });

  it('refuses a name that a file has', async () => {
    await writeFile(join(root, 'file'), '');
    for (const path of ['file', 'file/below'])
      await expect(makeFolder(join(root, path))).rejects.toMatchObject({ code: 'usage', at: join(root, 'file') });
  });

  const proc = process.platform === 'linux' ? it : it.skip;
  proc('ends where the file system knows no new folders', async () => {
    await expect(makeFolder('/proc/x/y')).rejects.toMatchObject({ code: 'usage', at: '/proc/x/y' });
  });

  it('is tried without a trace', async () => {
    await checkFolder(join(root, 'a/b/c'));
    expect(await readdir(root)).toEqual([]);
    await mkdir(join(root, 'kept'));
    await checkFolder(join(root, 'kept'));
    expect(await readdir(root)).toEqual(['kept']);
    await writeFile(join(root, 'file'), '');
    const at = join(root, 'file');
    await expect(checkFolder(join(root, 'file/below'))).rejects.toMatchObject({ at, hint: 'name a folder' });
  });

  proc('is refused where nothing can be written', async () => {
    const message = expect.stringMatching(/^the folder cannot be written into \(E/) as unknown;
    await expect(checkFolder('/proc')).rejects.toMatchObject({ code: 'usage', at: '/proc', message });
  });
});
