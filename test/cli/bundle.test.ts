import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { passes } from '../../src/passes/index.ts';

describe('scripts/bundle.mjs', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'qtool-bundle-'));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module", "version": "1.2.3" }');
    const script = fileURLToPath(new URL('../../scripts/bundle.mjs', import.meta.url));
    const { status, stderr } = spawnSync(process.execPath, [script, join(folder, 'dist/cli')], { encoding: 'utf8' });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const called = (...args: string[]) => {
    const code = `process.exitCode = await (await import('./dist/cli/main.js')).main(${JSON.stringify(args)});`;
    return spawnSync(process.execPath, ['--input-type=module', '-e', code], { cwd: folder, encoding: 'utf8' });
  };

  it('answers without any package beside it', () => {
    expect(called('--version')).toMatchObject({ status: 0, stdout: '1.2.3\n', stderr: '' });
  });

  it('holds every pass, YAML and the bad-input errors', () => {
    const { stdout } = called('passes', '--json');
    for (const name of passes.flatMap((pass) => pass.classes)) expect(stdout).toContain(name);
    writeFileSync(join(folder, 'bad.yaml'), 'version: 1\npolices: []\n');
    const { status, stderr } = called('check', join(folder, 'bad.yaml'));
    expect(status).toBe(2);
    expect(stderr).toMatch(/bad\.yaml:2:1.*polices/s);
  });
});
