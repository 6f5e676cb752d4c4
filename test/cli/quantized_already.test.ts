import { main } from '../../src/cli/main.ts';
import { fakeIo } from './fake_io.ts';
import { furnish, openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
/** All layers in 8 bits, and all but one. */
let [all, some] = ['', ''];

async function qtool(...args: string[]) {
  const io = fakeIo({ columns: 200 });
  const code = await main([...args, '--quiet'], io);
  return { code, out: io.out(), err: io.err() };
}

async function quantized(name: string, more = ''): Promise<string> {
  const text = `version: 1\nquantizers: { q: { class: PostTrainLinearQuantizer${more} } }\npolicies: [{ quantizer: { instance_name: q }, epochs: [0] }]\n`;
  const file = await shop.write(`${name}.yaml`, text);
  const folder = shop.path(name);
  const { code } = await qtool('quantize', shop.path('model.onnx'), '--schedule', file, '--data', shop.path('data.yaml'), '-o', folder, '--no-latency'); // prettier-ignore
  expect(code).toBe(0);
  return shop.path(name, 'model.onnx');
}

beforeAll(async () => {
  await furnish((shop = await openWorkshop()));
  [all, some] = [await quantized('all'), await quantized('some', ', overrides: { fc: { bits_weights: float } }')];
});
afterAll(() => shop.remove());

const data = (): string[] => ['--data', shop.path('data.yaml'), '--limit', '8'];

describe('a model that is quantized already', () => {
  it.each([
    ['analyze', []],
    ['sensitivity', ['--quantize', '--widths', '4']],
  ])('is named by %s where nothing of it is float', async (command, more) => {
    const { code, err } = await qtool(command, all, ...data(), ...more);
    expect(code).toBe(2);
    expect(err).toMatch(
      /could store in fewer bits: it is quantized already \(conv\)\n {2}hint: begin from the float model/,
    );
  });

  it.each([
    ['analyze', []],
    ['sensitivity', ['--quantize', '--widths', '4']],
    ['sensitivity', ['--levels', '0.5']],
    ['simulate', ['--weights', 'int4']],
  ])('is warned of by %s %j where something is', async (command, more) => {
    const { code, out } = await qtool(command, some, ...data(), ...more);
    expect(code).toBe(0);
    expect(out.split('\n')[0]).toMatch(/^! the model is quantized already \(conv\): begin from the float model/);
    const float = await qtool(command, shop.path('model.onnx'), ...data(), ...more);
    expect(float.out).not.toContain('quantized already');
  });
});
