import { readFile } from 'node:fs/promises';
import { main } from '../../src/cli/main.ts';
import { writeModel } from '../../src/graph/file.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import type { EvalReport } from '../../src/report/eval.ts';
import { png } from '../data/support.ts';
import { fakeIo } from './fake_io.ts';
import { furnish, openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => {
  await furnish((shop = await openWorkshop()));
  // The nearest of four greys, of 1: under any other scale or offset some grey is taken for another.
  const greys = [10, 90, 170, 245];
  const means = greys.map((grey) => grey / 255);
  for (const [label, grey] of greys.entries())
    for (let i = 0; i < 12; i++) await shop.write(`greys/${label}/${i}.png`, await png(8, 8, [grey, grey, grey]));
  await writeModel(
    makeModel({
      inputs: [makeValue('x', 'float32', ['N', 3, 8, 8])],
      outputs: [makeValue('scores', 'float32', ['N', 4])],
      nodes: [
        makeNode('GlobalAveragePool', ['x'], ['p'], {}, { name: 'pool' }),
        makeNode('Flatten', ['p'], ['f'], {}, { name: 'flatten' }),
        makeNode('Gemm', ['f', 'w', 'b'], ['scores'], { transB: 1 }, { name: 'fc' }),
      ],
      initializers: [
        makeTensor(
          'w',
          'float32',
          [4, 3],
          Float32Array.from({ length: 12 }, (_, i) => (2 * means[Math.floor(i / 3)]!) / 3),
        ),
        makeTensor(
          'b',
          'float32',
          [4],
          Float32Array.from(means, (mean) => -mean * mean),
        ),
      ],
    }),
    shop.path('nearest.onnx'),
  );
  for (let i = 0; i < 6; i++) await shop.write(`loose/${i}.png`, await readFile(shop.path(`images/a_red/${i}.png`)));
});
afterAll(() => shop.remove());

async function qtool(...args: string[]) {
  const io = fakeIo({ columns: 80 });
  const code = await main(args, io);
  return { code, out: io.out(), err: io.err(), json: <T>() => JSON.parse(io.out()) as T };
}

const commands: readonly (readonly [string, ...string[]])[] = [
  ['eval', '--no-latency'],
  ['quantize', '--schedule', 'int8', '-o', 'never'],
  ['analyze'],
  ['sensitivity'],
];

describe('images without a preprocessing', () => {
  it.each(commands)('are refused by %s without labels, in one line and a hint', async (command, ...more) => {
    const { code, err, out } = await qtool(command, shop.path('model.onnx'), '--data', shop.path('loose'), ...more);
    expect([code, out]).toEqual([2, '']);
    expect(err).toMatch(/^qtool: \S+loose: nothing says how these images become the model's input, and without labels it cannot be found by trial\n {2}hint: Say it with --preprocess <name>: 0\.\.1, .*\n$/); // prettier-ignore
  });

  it.each(commands)('are refused by %s after the table where several recipes fit', async (command, ...more) => {
    const { code, err } = await qtool(command, shop.path('model.onnx'), '--data', shop.path('images'), ...more, '--quiet'); // prettier-ignore
    expect(code).toBe(2);
    expect(err).toMatch(/^recipe +what +top1 +samples$/m);
    expect(err).toMatch(/^qtool: .* labelled samples do not tell which preprocessing is right/m);
    expect(Math.max(...err.split('\n').filter((line) => !line.startsWith('qtool:') && !line.startsWith('  hint')).map((line) => line.length))).toBeLessThanOrEqual(80); // prettier-ignore
  });

  it('are taken by the recipe that the model is clearly best with; the table is on stderr', async () => {
    const args = ['eval', shop.path('nearest.onnx'), '--data', shop.path('greys'), '--no-latency'];
    const { code, err, json } = await qtool(...args, '--json');
    expect([code, err]).toEqual([0, expect.stringMatching(/^0\.\.1 .*100\.0.* taken$/m)]);
    const { measurement, notes } = json<EvalReport>();
    expect(measurement.metrics[0]).toMatchObject({ name: 'top1', value: 100 });
    expect(notes[0]).toMatch(/^preprocessing 0\.\.1 was chosen/);
    expect((await qtool(...args, '--quiet')).err).toBe('');
  });

  it('show their size to inspect all the same', async () => {
    expect((await qtool('inspect', shop.path('model.onnx'), '--data', shop.path('loose'))).code).toBe(0);
  });
});

describe('preprocessing on the command line', () => {
  const top1 = async (...args: string[]): Promise<number | undefined> => {
    const { json } = await qtool('eval', shop.path('nearest.onnx'), '--data', shop.path('greys'), '--no-latency', '--json', ...args); // prettier-ignore
    return json<EvalReport>().measurement.metrics[0]?.value;
  };

  it('is a recipe, or single steps', async () => {
    expect(await top1('--preprocess', '0..1')).toBe(100);
    expect(await top1('--preprocess', '0..255')).toBeLessThan(100);
    expect(await top1('--scale', '1/255')).toBe(100);
    const { code, err } = await qtool('eval', shop.path('nearest.onnx'), '--data', shop.path('greys'), '--mean', '0.5');
    expect([code, err]).toEqual([2, expect.stringMatching(/within 1 say nothing of the scale: pixels are 0 to 255\n {2}hint: Add --scale 1\/255/)]); // prettier-ignore
    expect(await top1('--preprocess', '0..255', '--std', '255,255,255', '--mean', '0', '--resize', '8x8')).toBe(100);
  });

  it.each([
    [
      ['--scale', 'much'],
      /'--scale <number>' argument 'much' is invalid\. It must be a number that is not 0, or a fraction/,
    ],
    [['--scale', '1/0'], /It must be a number that is not 0, or a fraction/],
    [['--mean', '1,,2'], /'--mean <numbers>' argument '1,,2' is invalid\. It must be one number or one a channel/],
    [['--std', '0'], /none of them 0/],
    [['--resize', '8x'], /It must be a number of pixels, such as 256, or a height and a width/],
    [['--layout', 'NCWH'], /Allowed choices are NCHW, NHWC/],
    [['--preprocess', 'keras'], /Allowed choices are 0\.\.1, /],
  ])('is checked: %j', async (args, message) => {
    const { code, err } = await qtool('eval', 'none.onnx', '--data', 'none', ...args);
    expect([code, err]).toEqual([2, expect.stringMatching(message)]);
  });
});
