import { loadNative } from '../../src/util/native.ts';

const native = { name: 'engine', purpose: 'runs', install: 'npm install engine', needs: 'it needs glibc 2.28' };

describe('a package with a binary', () => {
  // As the loaders of Node.js, glibc and musl say it.
  it.each([
    ["Cannot find package 'engine' imported from /a/b.js", 'is not installed', /^npm install engine/],
    ["Cannot find module 'engine'\nRequire stack:\n- /a/b.js", 'is not installed', /^npm install engine/],
    ["Cannot find module '../bin/linux/x64/e.node'\nRequire stack:\n- /a/b.js", 'has no binary for', /^it needs glibc/],
    [
      "/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.28' not found (required by /a/e.node)",
      'GLIBC_2.28',
      /^it needs/,
    ],
    [
      'Error loading shared library ld-linux-x86-64.so.2: No such file or directory (needed by /a/e.node)',
      'ld-',
      /^it needs/,
    ],
    ['libstdc++.so.6: cannot open shared object file: No such file or directory', 'libstdc', /has libstdc\+\+\.so\.6$/],
    [
      'Error loading shared library libstdc++.so.6: No such file or directory (needed by /a/e.node)',
      'lib',
      /has libstdc/,
    ],
    [
      'libonnxruntime.so.1: cannot open shared object file: No such file or directory',
      'libonnx',
      /delete node_modules\/engine/,
    ],
    [
      '/a/e.node: invalid ELF header',
      `does not load on ${process.platform} ${process.arch}: /a/e.node: invalid ELF header`,
      /delete node_modules\/engine and npm install engine$/,
    ],
  ])('%s', async (text, message, hint) => {
    const loaded = loadNative(native, () => Promise.reject(new Error(text)));
    await expect(loaded).rejects.toMatchObject({
      code: 'runtime',
      message: expect.stringMatching(new RegExp(`^engine, which runs, [^\\n]*${message}[^\\n]*$`)) as string,
      hint: expect.stringMatching(hint) as string,
    });
  });

  it('is handed on where it loads', async () => {
    expect(await loadNative(native, () => Promise.resolve(3))).toBe(3);
  });
});
