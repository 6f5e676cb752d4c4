import { readFile } from 'node:fs/promises';
import { main } from '../../src/cli/main.ts';
import type { SimulateReport } from '../../src/run/simulate.ts';
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

  it('writes JSON, CSV and a page', async () => {
    const folder = shop.path('formats');
    expect((await simulate('--sweep', 'nf4', '-o', folder)).code).toBe(0);
    expect((await readFile(`${folder}/simulate.csv`, 'utf8')).split('\n')[2]).toMatch(/^nf4,float,4,/);
    expect(await readFile(`${folder}/simulate.html`, 'utf8')).toContain('nf4');
    expect(JSON.parse(await readFile(`${folder}/simulate.json`, 'utf8'))).toMatchObject({ format: 1 });
  });

  it.each([
    [[], 'nothing to simulate'],
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
