import { bytesOf } from '../../src/graph/bytes.ts';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { packModel } from '../../src/archive/pack.ts';
import { encodeModel } from '../../src/graph/model.ts';
import { smallConvNet } from '../helpers/models.ts';

describe('dist/reader.js', () => {
  let folder: string;
  const model = encodeModel(smallConvNet());
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'qtool-reader-'));
    const script = fileURLToPath(new URL('../../scripts/bundle.mjs', import.meta.url));
    const { status, stderr } = spawnSync(process.execPath, [script, join(folder, 'dist/cli')], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    const { archive } = await packModel(model, { open: () => Promise.reject(new Error('no external data')) });
    writeFileSync(join(folder, 'model.qpack'), archive);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  it('is one file of less than 10 kB that imports nothing', () => {
    const file = join(folder, 'dist/reader.js');
    expect(statSync(file).size).toBeLessThan(10_000);
    expect(readFileSync(file, 'utf8')).not.toMatch(/\bimport\b|\brequire\b|\bprocess\b|\bBuffer\b/);
  });

  it('gives back the model and each tensor, in a world that has no more than browsers have', () => {
    // In a context of its own there is nothing of Node.js: no process, no Buffer.
    const code = `
      import { readFileSync } from 'node:fs';
      import vm from 'node:vm';
      const context = vm.createContext({ TextDecoder });
      const reader = new vm.SourceTextModule(readFileSync('dist/reader.js', 'utf8'), { context });
      await reader.link(() => { throw new Error('imports something'); });
      await reader.evaluate();
      const { names, tensor, model, external } = reader.namespace.readArchive(readFileSync('model.qpack'));
      let error;
      try { reader.namespace.readArchive(readFileSync('package.json')); } catch (caught) { error = caught; }
      const { name, type, dims, data } = tensor('conv2.weight');
      const bytes = Buffer.from(model()).toString('base64');
      const { message, code, hint } = error;
      console.log(JSON.stringify({ names, name, type, dims, data: Buffer.from(data).toString('base64'), bytes, external: external(), error: { message, code, hint } }));`;
    const { stdout, stderr } = spawnSync(
      process.execPath,
      ['--experimental-vm-modules', '--no-warnings', '--input-type=module', '-e', code],
      { cwd: folder, encoding: 'utf8' },
    );
    expect(stderr).toBe('');
    const got = JSON.parse(stdout) as Record<string, unknown>;
    expect(got['bytes']).toBe(Buffer.from(model).toString('base64'));
    const { raw_data } = smallConvNet().graph.initializer.find(({ name }) => name === 'conv2.weight')!;
    expect(got).toMatchObject({
      names: expect.arrayContaining(['conv1.weight', 'fc.weight']) as string[],
      ...{ name: 'conv2.weight', type: 1, dims: [8, 8, 3, 3], external: [] },
      data: Buffer.from(bytesOf(raw_data)).toString('base64'),
      error: { message: 'this is no archive of version 1', code: 'model', hint: 'give one that qtool pack wrote' },
    });
  });
});
