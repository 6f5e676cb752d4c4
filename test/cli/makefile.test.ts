import { spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../', import.meta.url)).replace(/\/$/, '');

/** Called from another folder, by the shell's own `make -C`. */
function make(...args: string[]) {
  const { PWD: _pwd, MAKEFLAGS: _flags, ...env } = process.env;
  const cwd = tmpdir();
  return spawnSync('make', ['--no-print-directory', '-C', root, ...args], {
    ...{ cwd, encoding: 'utf8' as const, env: { ...env, PWD: cwd } },
  });
}

describe('make -C', () => {
  it.each(['quantize', 'eval', 'analyze', 'sensitivity', 'compare', 'report'])(
    '%s without its variables says its usage and builds nothing',
    (target) => {
      const { status, stdout } = make(target);
      expect(status).toBe(2);
      expect(stdout).toMatch(new RegExp(`^usage: make ${target} [A-Z]+=.*\\n$`));
    },
  );

  it('runs where it was called, or from FROM', () => {
    const given = ['MODEL=my model.onnx', 'SCHEDULE=int8', 'DATA=random', 'OUT=out', 'ARGS=--force'];
    const command = `"${root}/bin/qtool" quantize "my model.onnx" --schedule "int8" --data "random" -o "out" --force`;
    expect(make('-n', 'quantize', ...given).stdout).toContain(`cd "${tmpdir()}" && ${command}`);
    expect(make('-n', 'quantize', ...given, 'FROM=/else').stdout).toContain(`cd "/else" && ${command}`);
  });
});
