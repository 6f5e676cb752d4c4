import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { writeModel } from '../../src/graph/file.ts';
import type { NodeProto } from '../../src/graph/proto.ts';
import { weight } from '../helpers/models.ts';
import { readFile } from 'node:fs/promises';
import { main } from '../../src/cli/main.ts';
import type { InitReport } from '../../src/cli/commands/init.ts';
import { fakeIo } from './fake_io.ts';
import { furnish, openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

async function qtool(...args: string[]) {
  const io = fakeIo({ columns: 80 });
  const code = await main(args, io);
  return { code, out: io.out(), err: io.err() };
}

const model = () => shop.path('model.onnx');

describe('qtool init', () => {
  it('writes a config and a schedule that run by the command it prints', async () => {
    const folder = shop.path('work');
    const images = ['--data', shop.path('images'), '--preprocess', '0..1'];
    const { code, out } = await qtool('init', model(), ...images, '-o', folder);
    expect(code).toBe(0);
    const config = await readFile(shop.path('work', 'data.yaml'), 'utf8');
    expect(config).toContain('kind: image-folder\n  path: ../images\npreprocess: 0..1\n');
    expect(await readFile(shop.path('work', 'schedule.yaml'), 'utf8')).toMatch(/^# INT8 weights and activations/);
    const command = out.trimEnd().split('\n').at(-1) ?? '';
    expect(command).toMatch(/^qtool quantize /);
    const run = await qtool(...command.split(' ').slice(1), '--no-latency', '--quiet');
    expect([run.code, run.err]).toEqual([0, '']);
  });

  it('names data far from its folder by the whole path', async () => {
    const folder = shop.path('a', 'b', 'c');
    await qtool('init', model(), '--data', shop.path('images'), '--preprocess', '0..1', '-o', folder);
    const config = await readFile(shop.path('a', 'b', 'c', 'data.yaml'), 'utf8');
    expect(config).toContain(`  path: ${shop.path('images')}\n`);
  });

  it('leaves files alone that are there, unless it is told to', async () => {
    await shop.write('there/schedule.yaml', 'mine');
    const { code, err } = await qtool('init', model(), '-o', shop.path('there'));
    expect(code).toBe(2);
    expect(err).toMatch(/schedule\.yaml: this file exists\n {2}hint: .*--force/);
    expect(await readFile(shop.path('there', 'schedule.yaml'), 'utf8')).toBe('mine');
    const forced = await qtool('init', model(), '-o', shop.path('there'), '--force', '--schedule', 'fp16', '--json');
    expect(JSON.parse(forced.out)).toMatchObject({ from: 'fp16', data: shop.path('there', 'data.yaml') });
  });

  it.each([
    ['no preprocessing is clear', ['--data', 'unlabelled'], /preprocess/],
    ['the data is a config', ['--data', 'data.yaml'], /this is a data config already/],
    ['the data is not there', ['--data', 'nothing'], /does not exist/],
  ])('writes nothing where %s', async (_name, [flag, data], message) => {
    await shop.write('unlabelled/a.png', await readFile(shop.path('images', 'a_red', '0.png')));
    await shop.write('unlabelled/b.png', await readFile(shop.path('images', 'b_green', '0.png')));
    const { code, err } = await qtool('init', model(), flag!, shop.path(data!), '-o', shop.path('none'));
    expect(code).toBe(2);
    expect(err).toMatch(message);
    await expect(readFile(shop.path('none', 'data.yaml'))).rejects.toThrow('ENOENT');
  });

  it('says that a model is quantized already, and leaves to the target what this machine cannot do', async () => {
    const out = shop.path('eight');
    const run = await qtool('quantize', model(), '--schedule', 'int8', '--data', 'random', '-o', out, '--no-latency', '--quiet'); // prettier-ignore
    expect(run.code).toBe(0);
    const of = async (path: string) => JSON.parse((await qtool('init', path, '-o', shop.path('again'), '--force', '--json')).out) as InitReport; // prettier-ignore
    const again = await of(shop.path('eight', 'model.onnx'));
    expect(again.warnings).toEqual([expect.stringMatching(/^the model is quantized already \(conv, fc\): begin/)]);
    expect((await qtool('init', shop.path('eight', 'model.onnx'), '-o', shop.path('again'), '--force')).out).toMatch(/^! the model is quantized already/); // prettier-ignore
    const float = await of(model());
    expect(float.warnings).toEqual([]);
    expect(float.command).toMatch(/ --target auto -o \S+$/);
    const half = await qtool('init', model(), '-o', shop.path('again'), '--force', '--schedule', 'fp16', '--json');
    expect((JSON.parse(half.out) as InitReport).command).not.toContain('--target');
  });

  it('takes the schedule that fits what the model is made of', async () => {
    const chosen = async (nodes: readonly NodeProto[]): Promise<string> => {
      const file = shop.path('other.onnx');
      const last = nodes.at(-1)?.output.find((name) => name !== '') ?? '';
      await writeModel(makeModel({ inputs: [makeValue('x', 'float32', [4, 1, 8])], outputs: [makeValue(last, 'float32')], initializers: [weight('w', [1, 8, 8], 1), weight('r', [1, 8, 8], 2), weight('m', [8, 8], 3)], nodes: [...nodes] }), file); // prettier-ignore
      const { out } = await qtool('init', file, '-o', shop.path('fits'), '--force', '--json');
      return (JSON.parse(out) as { from: string }).from;
    };
    const recurrent = makeNode('RNN', ['x', 'w', 'r'], ['', 'h'], { hidden_size: 8 });
    expect(await chosen([recurrent, makeNode('MatMul', ['h', 'm'], ['y'])])).toBe('w4-weight-only');
    expect(await chosen([makeNode('MatMul', ['x', 'm'], ['y'])])).toBe('int8-fast');
  });

  it('takes the name of a config for one', async () => {
    const { code, err } = await qtool('init', model(), '--data', 'mnist', '-o', shop.path('none'));
    expect([code, err]).toEqual([
      2,
      expect.stringMatching(/^qtool: mnist: this is a data config already\n  hint: give it to/),
    ]);
  });
});
