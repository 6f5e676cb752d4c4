import { readFile } from 'node:fs/promises';
import { main } from '../../src/cli/main.ts';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { writeModel } from '../../src/graph/file.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import type { SimulateReport } from '../../src/run/simulate.ts';
import { noise, weight } from '../helpers/models.ts';
import { fakeIo } from './fake_io.ts';
import { furnish, openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

async function simulate(...args: string[]) {
  const io = fakeIo({ columns: 110 });
  const data = ['--data', 'random', '--limit', '16'];
  const code = await main(['simulate', shop.path('model.onnx'), ...data, ...args], io);
  return { code, out: io.out(), err: io.err(), json: () => JSON.parse(io.out()) as SimulateReport };
}
const sqnrs = ({ rows }: SimulateReport) => rows.map(({ metrics }) => metrics.find(({ name }) => name === 'sqnr')?.value ?? Infinity); // prettier-ignore

describe('qtool simulate', () => {
  it('measures formats one after the other, the float model first, and what they take in the file', async () => {
    const { code, json } = await simulate('--sweep', 'int8', 'int4', 'ternary', '--json');
    const report = json();
    expect([code, report.rows.map(({ weights }) => weights)]).toEqual([0, ['float', 'int8', 'int4', 'ternary']]);
    const [, eight, four, three] = sqnrs(report) as [number, number, number, number];
    expect(eight).toBeGreaterThan(four);
    expect(four).toBeGreaterThan(three);
    expect(report.rows.map(({ bits }) => bits)).toEqual([32, 8, 4, 2]);
  });

  it('holds what layers read too, and only the layers that are named', async () => {
    const [, whole] = sqnrs((await simulate('--weights', 'int4', '--activations', 'int4', '--json')).json());
    const [, part] = sqnrs((await simulate('--weights', 'int4', '--layers', 'fc', '--json')).json());
    expect(part).toBeGreaterThan(whole!);
  });

  it('says how many layers are held, and why others are not', async () => {
    const named = await simulate('--weights', 'int4', '--layers', 'fc');
    expect(named.out).toMatch(/1 of \d+ layers held in the formats of a row/);
    expect((await simulate('--weights', 'int4')).out).toContain('all layers held in the formats of a row');
    const bad = Float32Array.from(noise(1, 64), (v, i) => (i === 3 ? NaN : v));
    const model = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float32', ['N', 8]), makeValue('z', 'float32', ['N', 8])],
      initializers: [weight('w', [8, 8], 2), makeTensor('bad', 'float32', [8, 8], bad)],
      nodes: [makeNode('MatMul', ['x', 'w'], ['y'], {}, { name: 'good' }), makeNode('MatMul', ['x', 'bad'], ['z'], {}, { name: 'odd' })],
    }); // prettier-ignore
    await writeModel(model, shop.path('odd.onnx'));
    const io = fakeIo({ columns: 200 });
    const args = ['simulate', shop.path('odd.onnx'), '--data', 'random', '--limit', '4', '--weights', 'int4']; // prettier-ignore
    await main(args, io);
    expect(io.out() + io.err()).toContain('1 of 2 layers held');
    expect(io.out()).toMatch(/odd: its weight "bad" .*NaN/);
  });

  it('writes JSON, CSV and a page', async () => {
    const folder = shop.path('formats');
    expect((await simulate('--sweep', 'nf4', '-o', folder)).code).toBe(0);
    expect((await readFile(`${folder}/simulate.csv`, 'utf8')).split('\n')[2]).toMatch(/^nf4,float,4,/);
    expect(await readFile(`${folder}/simulate.html`, 'utf8')).toContain('nf4');
    expect(JSON.parse(await readFile(`${folder}/simulate.json`, 'utf8'))).toMatchObject({ format: 1 });
  });

  it.each([
    [[], 'nothing to simulate'],
    [['--weights', 'int4', '--layers', 'nope'], '--layers: "nope" matches no layer (there are: '],
    [['--weights', 'int4', '--layers', 'fd'], '"fd" matches no layer (did you mean "fc"?)'],
    [['--weights', 'nf5'], 'no number format is called "nf5" (did you mean "nf4"?)'],
    [['--weights', 'hwgq'], 'hwgq cannot hold weights'],
    [['--activations', 'codebook'], 'codebook cannot hold activations'],
    [['--weights', 'int:bits=40'], 'must be at most 16, is 40'],
  ])('refuses %j in one line', async (args, message) => {
    const { code, err } = await simulate(...args);
    expect(code).toBe(2);
    expect(err).toContain(message);
  });
});
