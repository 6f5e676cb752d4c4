import { verifyInteger } from '../../src/index.ts';
import { main } from '../../src/cli/main.ts';
import { jsonText } from '../../src/util/json.ts';
import { fakeIo } from './fake_io.ts';
import { furnish, openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => {
  await furnish((shop = await openWorkshop()));
  const given = ['--schedule', 'int8', '--data', shop.path('data.yaml'), '-o', shop.path('out'), '--no-latency'];
  expect(await main(['quantize', shop.path('model.onnx'), ...given], fakeIo())).toBe(0);
});
afterAll(() => shop.remove());

async function verify(model: string, ...more: string[]) {
  const io = fakeIo({ columns: 80 });
  const args = ['verify-integer', shop.path(model), '--data', shop.path('data.yaml'), '--limit', '16', ...more];
  return { code: await main(args, io), out: io.out(), err: io.err() };
}

describe('qtool verify-integer', () => {
  it('prints accuracy and differences of every requantization, the bits of every layer, energy', async () => {
    const { code, out } = await verify('out/model.onnx', '--quiet');
    expect(code).toBe(0);
    for (const name of ['onnxruntime off', 'onnxruntime all', 'gemmlowp', 'qnnpack-q31', 'cmsis-single', 'shift-8'])
      expect(out).toMatch(new RegExp(`^${name} .*100\\.00`, 'm'));
    expect(out).toMatch(/^conv +27 +\d+ +\d+ +\d+ +20\.8$/m);
    expect(out).toMatch(/^fc +4 +\d+ +\d+ +\d+ +18\.0$/m);
    expect(out).toMatch(/^weights from DRAM, once +[\d.]+ +[\d.]+ +4\.0×$/m);
    expect(out).not.toContain('in float');
  });

  it('runs the schemes asked for, and widths of accumulators', async () => {
    const more = ['--schemes', 'gemmlowp, cmsis', '--accumulator', '12', '--multiplier-bits', '5', '--quiet'];
    const { code, out } = await verify('out/model.onnx', ...more);
    expect(code).toBe(0);
    expect(out).toMatch(/^12 bits, wrap /m);
    expect(out).toContain('outside 12');
    expect(out).not.toContain('shift-5');
    expect((await verify('out/model.onnx', '--schemes', 'shift-5', '--multiplier-bits', '5')).out).toMatch(
      /^shift-5 /m,
    );
  });

  it.each([
    ['a float model', 'model.onnx', [], 'the model is a float model: there are no integers to verify'],
    ['an unknown scheme', 'out/model.onnx', ['--schemes', 'gemlowp'], 'the requantization "gemlowp" is not known (did you mean "gemmlowp"?)'],
    ['no scheme', 'out/model.onnx', ['--schemes', ','], 'the requantization "" is not known'],
    ['a width beyond int32', 'out/model.onnx', ['--accumulator', '40'], 'It must be a whole number from 8 to 31.'],
  ])('says in a line what is wrong with %s', async (_, model, more, message) => {
    const { code, out, err } = await verify(model, ...more);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain(message);
  }); // prettier-ignore

  it('is a call of the library too, which gives what --json prints', async () => {
    const options = { data: shop.path('data.yaml'), limit: 16, schemes: ['cmsis'] };
    const report = await verifyInteger({ ...options, model: shop.path('out/model.onnx') });
    const { out } = await verify('out/model.onnx', '--json', '--schemes', 'cmsis');
    expect(JSON.parse(jsonText(report))).toEqual(JSON.parse(out));
    await expect(verifyInteger({ ...options, model: shop.path('out/model.onnx'), accumulator: 4 })).rejects.toThrow(
      '"accumulator" must be a whole number from 8 to 31, not 4',
    );
    const signal = AbortSignal.abort(new Error('enough'));
    await expect(verifyInteger({ ...options, model: shop.path('out/model.onnx'), signal })).rejects.toThrow('enough');
  });
});
