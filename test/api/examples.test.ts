import { fileURLToPath, pathToFileURL } from 'node:url';
import { dataConfig, furnish, openWorkshop, type Workshop } from '../cli/workshop.ts';
import { codeBlocks } from './blocks.ts';

const root = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const blocks = codeBlocks('library.md');
/** As in a package that has qtool installed, but straight from the source. */
const fromSource = (code: string): string => code.replaceAll("'qtool'", `'${root('src/index.ts')}'`);

describe('docs/library.md', () => {
  let shop: Workshop;
  let printed: unknown[][];
  const home = process.cwd();
  const own = { log: console.log, error: console.error };
  beforeAll(async () => furnish((shop = await openWorkshop())));
  beforeEach(() => {
    process.chdir(shop.path());
    printed = [];
    console.log = (...values) => void printed.push(values);
    console.error = () => undefined;
  });
  afterEach(() => {
    process.chdir(home);
    Object.assign(console, own);
  });
  afterAll(() => shop.remove());

  it('has examples in both languages', () => {
    expect(new Set(blocks.map(({ language }) => language))).toEqual(new Set(['js', 'ts']));
  });

  it.each(blocks)('runs the example of line $line ($language)', async ({ code, line }) => {
    // JavaScript is TypeScript, and only that goes through jest's transform.
    const file = await shop.write(`example${line}.ts`, fromSource(code));
    await import(pathToFileURL(file).href);
    expect(printed.flat()).not.toHaveLength(0);
  });

  it('prints no drop of what has none, with all that is measured where nothing is said', async () => {
    await shop.write('all.yaml', dataConfig('images').replace(/^metric.*$/m, ''));
    const code = fromSource(blocks[0]!.code).replaceAll('data.yaml', 'all.yaml');
    await import(pathToFileURL(await shop.write('first.ts', code)).href);
    expect(printed.map(([name]) => String(name).split(':')[0])).toEqual(['top1', 'agreement', 'sqnr']);
    expect(printed.flat().join(' ')).not.toContain('Infinity');
  });
});
