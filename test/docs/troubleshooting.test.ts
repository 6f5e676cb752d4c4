import { readFileSync, readdirSync } from 'node:fs';
import { realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { main } from '../../src/cli/main.ts';
import { fakeIo } from '../cli/fake_io.ts';
import { furnish, openWorkshop, type Workshop } from '../cli/workshop.ts';
import { blocksOf, root } from './pages.ts';
import { situations } from './situations.ts';

const flat = (text: string): string => text.replace(/\s+/g, ' ').trim();

const blocks = blocksOf('docs/troubleshooting.md').filter(({ language }) => language === 'text');
const linesOf = (mark: string): string[] =>
  blocks.filter((block) => block.mark === mark).flatMap(({ text }) => text.trimEnd().split('\n').map(flat));

describe('docs/troubleshooting.md', () => {
  const said = new Map<string, string>();
  let shop: Workshop;
  const home = process.cwd();
  beforeAll(async () => {
    await furnish((shop = await openWorkshop()));
    process.chdir(shop.path());
    const paths = [shop.path(), await realpath(shop.path())];
    for (const [name, { args, code, make }] of Object.entries(situations)) {
      await make?.(shop);
      await rm(shop.path('out'), { recursive: true, force: true });
      const io = fakeIo();
      expect([name, await main(args.split(' '), io)]).toEqual([name, code]);
      said.set(name, flat(paths.reduce((text, path) => text.replaceAll(`${path}/`, ''), io.err() + io.out())));
    }
  });
  afterAll(async () => {
    process.chdir(home);
    await shop.remove();
  });

  it.each(linesOf('').map((line) => [line]))('qtool says: %s', (line) => {
    expect([...said.values()].filter((text) => text.includes(line))).not.toEqual([]);
  });

  it.each(Object.keys(situations))('explains %s', (name) => {
    expect(linesOf('').filter((line) => said.get(name)?.includes(line))).not.toEqual([]);
  });

  it.each(linesOf('source').map((line) => [line]))('the source says: %s', (line) => {
    const files = ['bin/qtool', ...readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts')).map((name) => join('src', name))]; // prettier-ignore
    const parts = line.split('…').map((part) => part.trim()).filter((part) => /\w/.test(part)); // prettier-ignore
    const texts = files.map((file) => readFileSync(join(root, file), 'utf8'));
    expect(parts).not.toEqual([]);
    expect(texts.filter((text) => parts.every((part) => text.includes(part)))).not.toEqual([]);
  });

  it('marks what others say, and nothing else', () => {
    expect(new Set(blocks.map(({ mark }) => mark))).toEqual(new Set(['', 'source', 'elsewhere']));
  });
});
