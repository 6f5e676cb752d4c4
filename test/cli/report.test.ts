import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { main } from '../../src/cli/main.ts';
import { commandLine } from '../../src/cli/command_line.ts';
import { jsonText } from '../../src/util/json.ts';
import { report } from '../report/sample.ts';
import { fakeIo } from './fake_io.ts';
import { openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => {
  shop = await openWorkshop();
  await shop.write('one/report.json', jsonText(report));
  await shop.write('two/report.json', jsonText({ ...report, seconds: 3 }));
  await shop.write('deep/one/report.json', jsonText(report));
});
afterAll(() => shop.remove());

async function qtool(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const io = fakeIo();
  const code = await main(['report', ...args], io);
  return { code, out: io.out(), err: io.err() };
}

const lineOf = (err: string): string => err.split('\n')[0] ?? '';

describe('qtool report', () => {
  it('makes the page of a run again, from its folder or its report.json', async () => {
    expect(await qtool(shop.path('one'))).toMatchObject({ code: 0, err: '' });
    const first = await readFile(shop.path('one/report.html'), 'utf8');
    expect(first).toContain('<h1>lenet5.onnx</h1>');
    expect((await qtool(shop.path('one/report.json'), '--json')).out).toContain('"output"');
    expect(await readFile(shop.path('one/report.html'), 'utf8')).toBe(first);
  });

  it('puts several runs on one page, those of one name by their paths', async () => {
    const page = shop.path('compare.html');
    expect(await qtool(shop.path('one'), shop.path('two'), shop.path('deep/one'), '-o', page)).toMatchObject({
      code: 0,
    });
    const html = (await readFile(page, 'utf8')).replaceAll('<wbr>', '');
    expect(html).toContain('3 runs compared');
    for (const name of ['two', shop.path('one'), shop.path('deep/one')]) expect(html).toContain(`>${name}</td>`);
  });

  it('leaves alone what is no page of its own', async () => {
    const mine = await shop.write('mine.html', '<p>mine</p>');
    const refused = await qtool(shop.path('one'), '-o', mine);
    expect(refused.code).toBe(2);
    expect(lineOf(refused.err)).toBe(`qtool: ${mine}: this file is no page of qtool, and is left alone`);
    expect(await readFile(mine, 'utf8')).toBe('<p>mine</p>');
    expect((await qtool(shop.path('one'), '-o', mine, '--force')).code).toBe(0);
    // A model is not taken for a page, whatever is said.
    const model = await shop.write('one/model.onnx', 'weights');
    const forced = await qtool(shop.path('one'), '-o', model, '--force');
    expect([forced.code, await readFile(model, 'utf8')]).toEqual([2, 'weights']);
    expect(forced.err).toContain('--force replaces .html files only');
    await mkdir(shop.path('folder'));
    expect((await qtool(shop.path('one'), '-o', shop.path('folder'))).code).toBe(2);
    expect((await qtool(shop.path('one'), '-o', shop.path('no/such.html'))).code).toBe(2);
  });

  it.each([
    ['nothing there', undefined, /report\.json: there is no such file/],
    ['no JSON', '{"format": 1,', /report\.json: this is no JSON/],
    ['another JSON', '{"name": "x"}', /report\.json: this is no report of a run: format: /],
    [
      'a later format',
      jsonText({ ...report, format: 2 }),
      /report\.json: this report is of format 2, of a newer qtool/,
    ],
    ['a wrong value', jsonText({ ...report, model: { ...report.model, bytes: 'many' } }), /model\.bytes: /],
    ['a layer that is none', jsonText({ ...report, layers: [{ layer: 3 }] }), /layers\.0\.layer: /],
  ])('says in one line what is wrong with %s', async (name, text, message) => {
    const folder = shop.path('bad', name);
    await mkdir(folder, { recursive: true });
    if (text !== undefined) await writeFile(shop.path('bad', name, 'report.json'), text);
    const { code, err } = await qtool(folder);
    expect([code, lineOf(err)]).toEqual([2, expect.stringMatching(message)]);
    // The line, and a hint.
    expect(err.trim().split('\n')).toHaveLength(2);
  });
});

describe('commandLine', () => {
  it('can be pasted', () => {
    const options = { schedule: 'int8', dataRoot: "it's here", limit: 500, measure: true, latency: false, force: true, target: undefined }; // prettier-ignore
    expect(commandLine(['quantize', 'a b.onnx'], options, ['measure'])).toBe(
      `qtool quantize 'a b.onnx' --schedule int8 --data-root 'it'\\''s here' --limit 500 --no-latency --force`,
    );
  });
});
