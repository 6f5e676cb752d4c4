import { existsSync } from 'node:fs';
import { mkdir, readFile, readdir, truncate, writeFile } from 'node:fs/promises';
import { main } from '../../src/cli/main.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { writeModel } from '../../src/graph/file.ts';
import { fakeIo } from './fake_io.ts';
import { dataConfig, furnish, openWorkshop, schedule, writeImages, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

let runs = 0;

/** `qtool quantize` with the good files, but for those named. */
async function quantize(changed: { model?: string; data?: string; schedule?: string; output?: string }) {
  const io = fakeIo();
  const output = changed.output ?? shop.path(`out${runs++}`);
  const args = [
    'quantize',
    shop.path(changed.model ?? 'model.onnx'),
    '--schedule',
    shop.path(changed.schedule ?? 'schedule.yaml'),
    '--data',
    shop.path(changed.data ?? 'data.yaml'),
    '-o',
    output,
    '--quiet',
    '--no-latency',
  ];
  return { code: await main(args, io), out: io.out(), err: io.err(), written: existsSync(output) };
}

interface Case {
  readonly name: string;
  /** Makes the bad thing; returns what to change of the good command. */
  readonly make: () => Promise<Parameters<typeof quantize>[0]>;
  /** Where the error says it is. */
  readonly at: RegExp;
  readonly message: RegExp;
  /** How it says to mend it: behind `hint:`, or as a proposal in the line. */
  readonly hint: RegExp;
}

async function writeData(name: string, text: string): Promise<{ data: string }> {
  await shop.write(name, text);
  return { data: name };
}

const cases: readonly Case[] = [
  {
    name: 'a model that is not there',
    make: async () => ({ model: 'nothing.onnx' }),
    at: /nothing\.onnx: /,
    message: /no such file/,
    hint: /give/,
  },
  {
    name: 'a truncated model',
    make: async () => {
      const bytes = await readFile(shop.path('model.onnx'));
      await writeFile(shop.path('cut.onnx'), bytes.subarray(0, bytes.length >> 1));
      return { model: 'cut.onnx' };
    },
    at: /cut\.onnx: /,
    message: /truncated or damaged/,
    hint: /again/,
  },
  {
    name: 'a text file as a model',
    make: async () => {
      await shop.write('notes.onnx', 'these are my notes about the model\n');
      return { model: 'notes.onnx' };
    },
    at: /notes\.onnx: /,
    message: /text file/,
    hint: /\.onnx/,
  },
  {
    name: 'an operator domain nobody knows',
    make: async () => {
      const foreign = makeModel({
        inputs: [makeValue('x', 'float32', ['N', 3])],
        outputs: [makeValue('y', 'float32', ['N', 3])],
        nodes: [makeNode('Swirl', ['x'], ['y'], {}, { name: 'swirl', domain: 'com.example' })],
        domains: { 'com.example': 1 },
      });
      await writeModel(foreign, shop.path('foreign.onnx'));
      return { model: 'foreign.onnx' };
    },
    at: /foreign\.onnx: /,
    message: /"swirl" is com\.example::Swirl/,
    hint: /custom operators/,
  },
  {
    name: 'a model over the size limit',
    make: async () => {
      // A hole in the file system: it takes no room.
      await shop.write('huge.onnx', '');
      await truncate(shop.path('huge.onnx'), 2 ** 31);
      return { model: 'huge.onnx' };
    },
    at: /huge\.onnx: /,
    message: /2\.0 GiB.*limit/,
    hint: /external data/,
  },
  {
    name: 'an empty dataset',
    make: async () => {
      await mkdir(shop.path('empty/a'), { recursive: true });
      return writeData('empty.yaml', dataConfig('empty'));
    },
    at: /empty/,
    message: /no (images|samples)/,
    hint: /./,
  },
  {
    name: 'an image that does not decode',
    make: async () => {
      await writeImages(shop, 'spoilt', 4);
      await shop.write('spoilt/b_green/2.png', Buffer.from('89504e470d0a1a0a0000', 'hex'));
      return writeData('spoilt.yaml', dataConfig('spoilt'));
    },
    at: /b_green\/2\.png: /,
    message: /decode/,
    hint: /./,
  },
  {
    name: 'a label out of range',
    make: async () => {
      const lines = ['file,label', 'a_red/0.png,0', 'b_green/0.png,7', 'c_blue/0.png,2', 'd_none/0.png,3'];
      await shop.write('labels.csv', `${lines.join('\n')}\n`);
      const text = 'version: 1\nvalidation: { kind: manifest, path: labels.csv, images: images }\n';
      return writeData('labels.yaml', `${text}calibration: { kind: image-folder, path: images }\n`);
    },
    at: /labels\.csv:3/,
    message: /label 7 is out of range/,
    hint: /./,
  },
  {
    name: 'data of another shape',
    make: () => writeData('shape.yaml', dataConfig('images').replace('scale:', 'resize: 6, scale:')),
    at: /\.png|shape\.yaml/,
    message: /\[1, 3, 6, 6\].*"x" wants \[N, 3, 8, 8\]/,
    hint: /./,
  },
  {
    name: 'a selector that matches nothing',
    make: async () => {
      await shop.write('selector.yaml', schedule("'cnov*'"));
      return { schedule: 'selector.yaml' };
    },
    at: /selector\.yaml:3:\d+: /,
    message: /"cnov\*" matches no weights/,
    hint: /conv/,
  },
  {
    name: 'a typo in the schedule',
    make: async () => {
      await shop.write('typo.yaml', schedule().replace('levels', 'levles'));
      return { schedule: 'typo.yaml' };
    },
    at: /typo\.yaml:3:\d+: /,
    message: /levles: unknown key/,
    hint: /did you mean "levels"\?/,
  },
  {
    name: 'an output folder that exists',
    make: async () => {
      await shop.write('taken/thesis.txt', 'two years of work');
      return { output: shop.path('taken') };
    },
    at: /taken: /,
    message: /exists/,
    hint: /--force/,
  },
];

describe('bad input', () => {
  it.each(cases)('$name: one line, a hint, exit 2', async ({ make, at, message, hint }) => {
    const changed = await make();
    const { code, out, err, written } = await quantize(changed);
    expect(err).not.toMatch(/\n {4}at /);
    expect(code).toBe(2);
    expect(out).toBe('');
    const [first = '', ...rest] = err.trimEnd().split('\n');
    expect(first).toMatch(/^qtool: /);
    expect(first).toMatch(at);
    expect(first).toMatch(message);
    // One line, then at most the hint.
    expect(rest.filter((line) => !line.startsWith('  hint: '))).toEqual([]);
    expect(rest.length).toBeLessThanOrEqual(1);
    expect(err).toMatch(hint);
    expect(err).toMatch(/\n {2}hint: .{10}|did you mean|there are: /);
    if (changed.output === undefined) expect(written).toBe(false);
  });

  it('leaves a folder that is in use as it was', async () => {
    await shop.write('mine/notes.txt', 'keep');
    await quantize({ output: shop.path('mine') });
    expect(await readdir(shop.path('mine'))).toEqual(['notes.txt']);
  });

  it('compresses where nothing is bad, so that the cases above fail for their own reason', async () => {
    const { code, err, written } = await quantize({});
    expect({ code, err, written }).toEqual({ code: 0, err: '', written: true });
  });
});
