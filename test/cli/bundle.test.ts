import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
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

  describe('without a runtime', () => {
    const module = (path: string, code: string) => {
      mkdirSync(join(folder, 'node_modules/onnxruntime-node', path, '..'), { recursive: true });
      writeFileSync(join(folder, 'node_modules/onnxruntime-node', path), code);
    };
    const model = fileURLToPath(new URL('../../examples/mnist/lenet-5.onnx', import.meta.url));
    afterEach(() => rmSync(join(folder, 'node_modules'), { recursive: true, force: true }));

    it('says which package is missing and how to install it', () => {
      const { status, stderr, stdout } = called('inspect', model);
      expect([status, stdout]).toEqual([2, '']);
      expect(stderr).toBe(
        'qtool: onnxruntime-node, which runs the models, is not installed\n' +
          '  hint: ONNXRUNTIME_NODE_INSTALL=skip npm install onnxruntime-node (with -g where qtool was installed with it)\n',
      );
    });

    it.each([
      [
        'has no binary',
        "require('../bin/none.node');",
        /has no binary for \S+ \S+ here: .*none\.node'\n {2}hint: it needs/,
      ],
      ['is damaged', "require('./damaged.node');", /does not load on \S+ \S+: .*\n {2}hint: its files are damaged/],
    ])('says that it %s', (_, code, message) => {
      module('package.json', '{ "name": "onnxruntime-node", "main": "dist/index.js" }');
      module('dist/index.js', code);
      module('dist/damaged.node', 'no binary');
      const { status, stderr } = called('inspect', model);
      expect(status).toBe(2);
      expect(stderr).toMatch(message);
      expect(stderr.trimEnd().split('\n')).toHaveLength(2);
    });

    it.each([
      ['help', 'quantize'],
      ['passes'],
      ['schedules'],
      ['explain', 'AdaRound'],
      ['completion', 'zsh'],
      ['check', 'good.yaml', '--model', model],
    ])('answers %s', (...args) => {
      mkdirSync(join(folder, 'schedules'), { recursive: true });
      writeFileSync(
        join(folder, 'good.yaml'),
        'version: 1\nquantizers: { q: { class: PostTrainLinearQuantizer } }\npolicies: [{ quantizer: { instance_name: q }, epochs: [0] }]\n',
      );
      expect(called(...args)).toMatchObject({ status: 0, stderr: '' });
    });
  });

  describe("a user's module", () => {
    const failing = (code: string) => {
      // As in a program that has the library beside the command line: another copy of the class.
      const source = readFileSync(fileURLToPath(new URL('../../src/util/error.ts', import.meta.url)), 'utf8');
      const compilerOptions = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2023 };
      const users = mkdtempSync(join(tmpdir(), 'qtool-user-'));
      writeFileSync(join(users, 'error.mjs'), ts.transpileModule(source, { compilerOptions }).outputText);
      writeFileSync(join(users, 'data.mjs'), `import { QtoolError } from './error.mjs';\n${code}`);
      writeFileSync(join(users, 'data.yaml'), 'data: { kind: module, path: data.mjs }\n');
      const model = fileURLToPath(new URL('../../examples/mnist/lenet-5.onnx', import.meta.url));
      const result = called('eval', model, '--data', join(users, 'data.yaml'), '--allow-modules');
      rmSync(users, { recursive: true });
      return result;
    };

    it.each([
      [
        'when it runs',
        "export default () => { throw new QtoolError('data', 'no such day', { hint: 'take another' }); };",
      ],
      ['when it loads', "throw new QtoolError('data', 'no such day', { hint: 'take another' });"],
    ])('throws a QtoolError of its own copy of qtool %s', (_, code) => {
      expect(failing(code)).toMatchObject({ status: 2, stderr: 'qtool: no such day\n  hint: take another\n' });
    });

    it('is named where it throws anything else', () => {
      const { status, stderr } = failing('export default () => undefined.length;');
      expect(status).toBe(2);
      expect(stderr).toMatch(/^qtool: \S+data\.mjs:2:\d+: the module failed:\nTypeError: .*\n +at /);
    });
  });
});
