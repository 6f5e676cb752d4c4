import { mkdir, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checkSourceStays, openRunFolder } from '../../src/run/output.ts';
import { smallConvNet } from '../helpers/models.ts';
import { containing } from './support.ts';

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), 'qtool-out-'))));
afterEach(() => rm(folder, { recursive: true, force: true }));

const lock = '.qtool.lock';
const files = async (path: string): Promise<string[]> => (await readdir(path)).filter((name) => name !== lock);

it("a folder is one run's at a time, until that run ends or has died", async () => {
  const path = join(folder, 'one');
  const out = await openRunFolder(path, true);
  await expect(openRunFolder(path, true)).rejects.toMatchObject({ code: 'usage', message: containing(`process ${process.pid}`), at: path, hint: containing('another folder') }); // prettier-ignore
  await out.release();
  expect(await readdir(path)).toEqual([]);
  // No process has such numbers: the kernel's largest is 2²², and 0 would be all of them.
  for (const dead of ['99999999', '', '0', 'x']) {
    await writeFile(join(path, lock), dead);
    const taken = await openRunFolder(path, true);
    expect(await readFile(join(path, lock), 'utf8')).toBe(String(process.pid));
    await taken.release();
  }
  // What a run leaves behind that is given up is nothing.
  await (await openRunFolder(path, true)).discard();
  expect(await readdir(path)).toEqual([]);
});

describe('openRunFolder', () => {
  it('keeps one model: the data of a larger one before it goes', async () => {
    const out = await openRunFolder(join(folder, 'kept'), false);
    await writeFile(`${out.partialPath}.data`, 'weights of the float model');
    await out.keep(smallConvNet());
    expect(await files(join(folder, 'kept'))).toEqual(['model.partial.onnx']);
    await writeFile(`${out.partialPath}.data`, 'weights of a large model');
    await out.finish(smallConvNet());
    expect(await files(join(folder, 'kept'))).toEqual(['model.onnx']);
  });

  it('makes the folder, and writes whole files only', async () => {
    const out = await openRunFolder(join(folder, 'a', 'b'), false);
    await out.keep(smallConvNet());
    expect(await files(join(folder, 'a', 'b'))).toEqual(['model.partial.onnx']);
    await out.finish(smallConvNet());
    await out.write('report.json', '{}');
    await out.log('one');
    await out.log('two');
    expect((await files(join(folder, 'a', 'b'))).sort()).toEqual(['model.onnx', 'qtool.log', 'report.json']);
    expect(await readFile(join(folder, 'a', 'b', 'qtool.log'), 'utf8')).toBe('one\ntwo\n');
  });

  it('refuses a folder in use, and with force takes away only its own files', async () => {
    await writeFile(join(folder, 'mine.txt'), 'keep');
    const old = '{\n  "format": 1,\n  "tool": {\n    "qtool": "0.0.1" } }';
    await writeFile(join(folder, 'report.json'), old);
    await writeFile(join(folder, 'model.onnx'), 'a result');
    const inUse = {
      code: 'usage',
      at: folder,
      message: expect.stringMatching(/exists and is not empty/) as unknown,
      hint: expect.stringMatching(/--force/) as unknown,
    };
    await expect(openRunFolder(folder, false)).rejects.toMatchObject(inUse);
    expect(await readFile(join(folder, 'report.json'), 'utf8')).toBe(old);
    await openRunFolder(folder, true);
    expect(await files(folder)).toEqual(['mine.txt']);
  });

  it.each(['model.onnx', 'report.html', 'schedule.yaml', 'report.json', 'qtool.log'])(
    'leaves a %s alone that no run wrote, with force too',
    async (name) => {
      await writeFile(join(folder, name), 'my own');
      await expect(openRunFolder(folder, true)).rejects.toMatchObject({ code: 'usage', at: join(folder, name), message: containing('no run of qtool') }); // prettier-ignore
      expect(await readFile(join(folder, name), 'utf8')).toBe('my own');
    },
  );

  it('takes the folder of a run that came to no report', async () => {
    await writeFile(join(folder, 'qtool.log'), '2026-01-02T03:04:05.678Z {"kind":"baseline"}\n');
    await writeFile(join(folder, 'model.partial.onnx'), 'half');
    await openRunFolder(folder, true);
    expect(await files(folder)).toEqual([]);
  });

  it('writes log lines in the order of the calls', async () => {
    const out = await openRunFolder(join(folder, 'log'), false);
    const lines = Array.from({ length: 50 }, (_, i) => `line ${i}`);
    await Promise.all(lines.map((line) => out.log(line)));
    expect(await readFile(join(folder, 'log', 'qtool.log'), 'utf8')).toBe(`${lines.join('\n')}\n`);
  });

  it('discards what it wrote, and the folder it made, but nothing of others', async () => {
    const mine = await openRunFolder(join(folder, 'mine'), false);
    await mine.write('report.json', '{}');
    void mine.log('late');
    await mine.discard();
    expect(await files(folder)).toEqual([]);
    const shared = await openRunFolder(folder, false);
    await shared.write('report.json', '{}');
    await writeFile(join(folder, 'other.txt'), '');
    await shared.discard();
    expect(await files(folder)).toEqual(['other.txt']);
    // An empty folder that was there before stays, too.
    const empty = join(folder, 'empty');
    await mkdir(empty);
    await (await openRunFolder(empty, false)).discard();
    expect((await files(folder)).sort()).toEqual(['empty', 'other.txt']);
  });

  it('says so where the path is a file', async () => {
    await writeFile(join(folder, 'file'), '');
    const at = join(folder, 'file');
    await expect(openRunFolder(at, true)).rejects.toMatchObject({
      code: 'usage',
      at,
      message: expect.stringMatching(/^is a file, where a folder has to be$/) as unknown,
      hint: expect.stringMatching(/folder/) as unknown,
    });
  });
});

describe('checkSourceStays', () => {
  const wrong = { code: 'usage', message: expect.stringMatching(/lies in the output folder/) as unknown };

  it('refuses a folder where the result would take the place of the model, under whatever name it is reached', async () => {
    const source = join(folder, 'model.onnx');
    await writeFile(source, 'float');
    await symlink(folder, join(folder, 'link'));
    for (const path of [source, join(folder, 'link', 'model.onnx')])
      await expect(checkSourceStays(folder, path)).rejects.toMatchObject(wrong);
    await expect(checkSourceStays(join(folder, 'link'), source)).rejects.toMatchObject(wrong);
    await checkSourceStays(join(folder, 'other'), source);
  });

  it('refuses one where the data beside the model would go', async () => {
    await writeFile(join(folder, 'net.onnx'), 'float');
    await checkSourceStays(folder, join(folder, 'net.onnx'));
    await writeFile(join(folder, 'model.onnx.data'), 'weights');
    await expect(checkSourceStays(folder, join(folder, 'net.onnx'))).rejects.toMatchObject(wrong);
  });
});
