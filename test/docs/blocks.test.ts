import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { readFile, symlink } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import type { Command as Program } from 'commander';
import ts from 'typescript';
import { parse, stringify } from 'yaml';
import { main } from '../../src/cli/main.ts';
import { buildProgram } from '../../src/cli/program.ts';
import { parseDataConfig } from '../../src/data/config.ts';
import { passes } from '../../src/passes/index.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { parseTarget } from '../../src/schedule/target.ts';
import { isModule } from '../../src/util/module.ts';
import { fakeIo } from '../cli/fake_io.ts';
import { furnish, openWorkshop, type Workshop } from '../cli/workshop.ts';
import { commandsOf, type Command } from './commands.ts';
import { anchorsOf, blocksOf, linksOf, pages, pageText, root, type Block } from './pages.ts';

const blocks = pages.flatMap(blocksOf);
const of = (...languages: string[]): Block[] => blocks.filter(({ language }) => languages.includes(language));
const named = (list: readonly Block[]): [string, Block][] =>
  list.map((block) => [`${block.page}:${block.line}`, block]);

const sections = { pruners: 'pruner', quantizers: 'quantizer', allocators: 'allocator', extensions: 'extension' };

type Sections = Record<string, Record<string, { readonly class: string }>>;

/** A schedule for each instance of a fragment, so that its class and its options are checked. A module's options are its own. */
const instancesOf = (value: Sections): object[] =>
  Object.entries(sections).flatMap(([section, kind]) =>
    Object.entries(value[section] ?? {})
      .filter(([, instance]) => !isModule(instance.class))
      .map(([name, instance]) => ({
        [section]: { [name]: instance },
        policies: [{ [kind]: { instance_name: name }, epochs: [0] }],
      })),
  );

describe('YAML of the pages', () => {
  it.each(named(of('yaml').filter(({ mark }) => mark === '')))('%s is a whole file', (name, { text }) => {
    const keys = Object.keys(parse(text) as object);
    if (keys.includes('rules')) expect(parseTarget(text, name, 'own', passes).rules).not.toEqual([]);
    else if (['data', 'calibration', 'validation'].some((key) => keys.includes(key)))
      expect(parseDataConfig(text, name).value).toBeDefined();
    else expect(parseSchedule(text, name, { passes }).stages).not.toEqual([]);
  });

  it.each(named(of('yaml').filter(({ mark }) => mark !== '')))(
    '%s is a fragment with options that exist',
    (name, { text, mark }) => {
      expect(mark).toBe('fragment');
      for (const schedule of instancesOf(parse(text) as Sections))
        expect(parseSchedule(stringify(schedule), name, { passes }).stages).toHaveLength(1);
    },
  );
});

describe('shell blocks of the pages', () => {
  const commands = commandsOf(of('sh').filter(({ mark }) => mark === ''));
  const ofQtool = commands
    .map(({ block, words }) => ({ block, words: words[0] === 'npx' ? words.slice(1) : words }))
    .filter(({ words }) => words[0] === 'qtool')
    .map(({ block, words }): [string, Command] => [
      `${block.page}:${block.line} ${words.join(' ')}`,
      { block, words: words.slice(1) },
    ]);

  const opened = new Set<string>();
  let shop: Workshop;
  const home = process.cwd();
  beforeAll(async () => {
    await furnish((shop = await openWorkshop()));
    await symlink(shop.path('images'), shop.path('my-images'));
    for (const folder of ['configs', 'examples', 'node_modules', 'schedules'])
      await symlink(join(root, folder), shop.path(folder));
    process.chdir(shop.path());
  });
  afterAll(async () => {
    process.chdir(home);
    await shop.remove();
  });

  it.each(ofQtool)('%s', async (_line, { words }) => {
    const io = fakeIo();
    const program = buildProgram(io, '0', () => undefined);
    let called: Program | undefined;
    for (const command of program.commands) command.action(() => void (called = command));
    await program.parseAsync([...words], { from: 'user' }).catch(() => undefined);
    expect(io.err()).toBe('');
    if (!called || !runs(called.name(), words)) return;
    const code = await main(cheaply(words, opened), io);
    expect([code, code === 0 ? '' : io.err()]).toEqual([0, '']);
  });

  it('name files, scripts and targets that exist', async () => {
    const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as { scripts: object };
    const makefile = await readFile(join(root, 'Makefile'), 'utf8');
    const wrong = commands.flatMap(({ block, words }) => {
      const [program = '', first = '', second = ''] = words;
      const missing = words.filter((word) => /^(bench|configs|docs|examples|schedules|scripts)\//.test(word) && !existsSync(join(root, word))); // prettier-ignore
      const script = program === 'npm' && first === 'run' && !(second in scripts) ? [second] : [];
      const target = program === 'make' && !new RegExp(`^${words.find((word) => /^[a-z]+$/.test(word) && word !== 'make')}:`, 'm').test(makefile) ? [words.join(' ')] : []; // prettier-ignore
      const own = program === 'node' && !first.startsWith('-') && !existsSync(join(root, first)) && !pageText(block.page).includes(`// ${first}\n`) ? [first] : []; // prettier-ignore
      const list = [...missing, ...script, ...target, ...own];
      return list.map((one) => `${block.page}:${block.line}: ${one}`);
    });
    expect(wrong).toEqual([]);
  });

  it('are fenced, and marked by nothing but "fragment"', () => {
    const commandLine = /^ {4,}(?:\$ )?(?:qtool|npx|npm|node|make|git) .*$/gm;
    const fenced = new Set(blocks.flatMap(({ text }) => text.split('\n').map((line) => line.trim())));
    const loose = pages.flatMap((page) =>
      [...pageText(page).matchAll(commandLine)].map(([line]) => line.trim()).filter((line) => !fenced.has(line)),
    );
    expect(loose).toEqual([]);
    expect(of('sh').filter(({ mark }) => mark !== '' && mark !== 'fragment')).toEqual([]);
    expect(of('bash', 'shell', 'console', 'yml')).toEqual([]);
  });
});

/** Whether a command is run, not only read: those that measure nothing, on files that the workshop has. */
function runs(name: string, words: readonly string[]): boolean {
  const files = words.filter((word) => /\.(onnx|yaml)$|images/.test(word));
  const cheap = ['check', 'completion', 'explain', 'help', 'inspect', 'passes', 'quantize', 'schedules'];
  return cheap.includes(name) && files.every((file) => existsSync(file));
}

/** `quantize` without work: model, schedule, data and options are checked all the same; but no data twice, which is what takes the time. */
function cheaply(words: readonly string[], opened: Set<string>): string[] {
  if (words[0] !== 'quantize') return [...words];
  const given = words[words.indexOf('--data') + 1] ?? '';
  const data = opened.has(given) ? 'random' : given;
  opened.add(given);
  return [...words.map((word) => (word === given ? data : word)), '--dry-run'];
}

describe('JavaScript of the pages', () => {
  const scripts = of('html').map((block) => ({ ...block, text: /<script[^>]*>(.*)<\/script>/s.exec(block.text)?.[1] ?? '' })); // prettier-ignore
  // The library's page has a test of its own (test/api), which runs its examples.
  const code = [...of('js', 'ts').filter(({ page }) => page !== 'docs/library.md'), ...scripts];

  it.each(named(code))('%s can be read', (_name, { text }) => {
    const { diagnostics } = ts.transpileModule(text, { reportDiagnostics: true, compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext } }); // prettier-ignore
    expect([text === '', diagnostics?.map(({ messageText }) => messageText)]).toEqual([false, []]);
  });

  it('recognizes a digit, as the tutorial says', async () => {
    const shop = await openWorkshop();
    const text = code.find((block) => block.text.startsWith('// digit.mjs'))?.text ?? '';
    await shop.write('runs/auto/model.onnx', await readFile(join(root, 'examples/mnist/lenet-5.onnx')));
    await shop.write('digit.mjs', text);
    await symlink(join(root, 'node_modules'), shop.path('node_modules'));
    const { stdout } = spawnSync(process.execPath, ['digit.mjs'], { cwd: shop.path(), encoding: 'utf8' });
    await shop.remove();
    expect(stdout).toBe('7\n');
    expect(pageText('docs/tutorial.md')).toContain('It prints `7`');
  });
});

describe('links of the pages', () => {
  it.each(pages.map((page) => [page]))('%s leads nowhere that is not', (page) => {
    const dead = linksOf(page).filter((link) => {
      const [path = '', anchor] = link.split('#');
      const file = path === '' ? page : normalize(join(dirname(page), path));
      if (!existsSync(join(root, file))) return true;
      return anchor !== undefined && !anchorsOf(file).has(anchor);
    });
    expect(dead).toEqual([]);
  });
});
