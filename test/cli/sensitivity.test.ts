import { readFile } from 'node:fs/promises';
import { main } from '../../src/cli/main.ts';
import { readModel } from '../../src/graph/file.ts';
import { layerFacts } from '../../src/graph/names.ts';
import { passes } from '../../src/passes/index.ts';
import { floatData } from '../../src/graph/tensor.ts';
import { levelPruner } from '../../src/passes/prune/level.ts';
import type { QuantizeSensitivityReport } from '../../src/run/quantize_sensitivity.ts';
import type { SensitivityReport } from '../../src/run/sensitivity.ts';
import { bindSchedule } from '../../src/schedule/bind.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { testContext } from '../helpers/context.ts';
import { fakeIo } from './fake_io.ts';
import { dataConfig, furnish, openWorkshop, type Workshop } from './workshop.ts';

let shop: Workshop;
beforeAll(async () => furnish((shop = await openWorkshop())));
afterAll(() => shop.remove());

async function sensitivity(...args: string[]) {
  const io = fakeIo({ columns: 110 });
  const own = args.includes('--data') ? [] : ['--data', shop.path('data.yaml')];
  const data = [...own, '--data-root', shop.path('.')];
  const code = await main(['sensitivity', shop.path('model.onnx'), ...data, ...args], io);
  return { code, out: io.out(), err: io.err(), json: () => JSON.parse(io.out()) as SensitivityReport };
}

describe('qtool sensitivity', () => {
  it('measures each layer alone: what it costs and what it saves', async () => {
    const { code, json } = await sensitivity('--levels', '0.5,0.9', '--json');
    expect(code).toBe(0);
    const { curves, metric, solution } = json();
    expect(metric).toEqual({ name: 'top1', unit: '%', value: 100 });
    expect(solution).toBeUndefined();
    expect(curves.map(({ layer, name, points }) => [layer, name, points.map((p) => p.sparsity)])).toEqual([
      ['conv', 'conv.weight', [0.5, 0.9]],
      ['fc', 'fc.weight', [0.5, 0.9]],
    ]);
    // Of 30 weights of conv (three ones and 27 of 0.01) and 16 of fc, and one bias, that are not zero: the shares of what is left.
    const [conv, fc] = curves.map(({ points }) => points.map(({ costs }) => Math.round(47 * costs.parameters)));
    // conv: 54 of 108 are zero already, 97 at 0.9. fc: 8 and 14 of 16.
    expect([conv, fc]).toEqual([[47, 47 - 30 + 11], [47 - 8, 47 - 14]]); // prettier-ignore
    expect(curves.every(({ points }) => points.every((p) => p.drop === 100 - p.value))).toBe(true);
  });

  it('finds levels that meet a target, measures them together, and writes the schedule', async () => {
    const folder = shop.path('curves');
    const { code, out } = await sensitivity('--levels', '0.5,0.9', '--budget', 'parameters=0.7', '-o', folder);
    expect(code).toBe(0);
    expect(out).toContain('For 70.0 % of the parameters that are not zero: top1');
    const report = JSON.parse(await readFile(`${folder}/sensitivity.json`, 'utf8')) as SensitivityReport;
    const { levels, costs, drop } = report.solution!;
    expect(costs.parameters).toBeLessThanOrEqual(0.7);
    // No other mixture that meets the target has a smaller sum of drops.
    const choices = report.curves.map(({ points }) => [{ drop: 0, costs: { parameters: 1 } }, ...points]);
    const sums = choices[0]!.flatMap((a) =>
      choices[1]!
        .filter((b) => a.costs.parameters + b.costs.parameters - 1 <= 0.7)
        .map((b) => Math.max(0, a.drop) + Math.max(0, b.drop)),
    );
    expect(report.solution!.foretold).toBe(Math.min(...sums));
    // The schedule is right for the model and does what was measured.
    const text = await readFile(`${folder}/schedule.yaml`, 'utf8');
    expect(out).toContain(text.trimEnd());
    const model = await readModel(shop.path('model.onnx'));
    const parsed = parseSchedule(text, 'schedule.yaml', { passes });
    const { stages } = bindSchedule(parsed, { layers: layerFacts(model) });
    expect(stages[0]!.options).toEqual({ levels });
    const gate = stages[0]!.gate!;
    expect('maxDrop' in gate && gate.maxDrop).toBeGreaterThanOrEqual(Math.max(0, drop));
    const { model: pruned } = await levelPruner.apply(model, { levels }, testContext());
    const left = pruned.graph.initializer.reduce((n, t) => n + floatData(t).filter((v) => v !== 0).length, 0);
    expect(left / 47).toBeCloseTo(costs.parameters, 12);
  });

  it('writes a table for plotting: one row a point', async () => {
    const folder = shop.path('plot');
    await sensitivity('--levels', '0.5', '--layers', 'fc', '-o', folder);
    const rows = (await readFile(`${folder}/sensitivity.csv`, 'utf8')).trimEnd().split('\n');
    expect(rows[0]).toBe('layer,weight,sparsity,top1,drop,parameters,macs,bytes');
    expect(rows).toHaveLength(2);
    // A bit an element and four bytes for what is not zero: conv 14 + 120, its bias 1, fc 64 whole and 2 + 32 pruned, its bias 5.
    expect(rows[1]).toBe(`fc,fc.weight,0.5,100,0,${39 / 47},1,${174 / 204}`);
  });

  it('cuts channels for a target of multiply-accumulates', async () => {
    const { code, json } = await sensitivity(
      ...['--class', 'ChannelPruner', '--levels', '0.25,0.5', '--budget', 'macs=0.8', '--json'],
    );
    expect(code).toBe(0);
    const { curves, notes, solution } = json();
    expect(curves.map(({ layer }) => layer)).toEqual(['conv']);
    expect(notes).toContain('fc: nothing of it can be pruned alone by this class');
    expect(solution!.levels).toEqual({ 'conv.weight': 0.25 });
    expect(solution!.costs.macs).toBeCloseTo(0.75, 3);
  });

  it('quantizes each tensor alone in each width', async () => {
    const folder = shop.path('widths');
    const config = await shop.write('sqnr.yaml', dataConfig('images').replace('top1', 'sqnr'));
    const args = ['--data', config, '--quantize', '--widths', '2,8', '--json', '-o', folder];
    const { code, json } = await sensitivity(...args);
    expect(code).toBe(0);
    const { tensors, widths, metric } = JSON.parse(JSON.stringify(json())) as QuantizeSensitivityReport;
    expect([widths, metric.name]).toEqual([[8, 2], 'sqnr']);
    expect(tensors.map(({ kind, name, points }) => [kind, name, points.map((p) => [p.bits, p.bytes])])).toEqual([
      [
        'weights',
        'conv',
        [
          [8, 108],
          [2, 27],
        ],
      ],
      [
        'weights',
        'fc',
        [
          [8, 16],
          [2, 4],
        ],
      ],
      ...['x', 'r', 'g']
        .map(() => [
          'activation',
          expect.any(String) as unknown,
          [
            [8, undefined],
            [2, undefined],
          ],
        ])
        .slice(0, tensors.length - 2),
    ]);
    expect(tensors.length).toBeGreaterThan(2);
    // The narrow width costs more, but of conv, whose few values every width holds: noise beside the signal, what the SQNR says in dB.
    for (const {
      points: [wide, narrow],
    } of tensors) {
      expect(narrow!.drop).toBeGreaterThanOrEqual(wide!.drop);
      expect(narrow!.drop).toBeCloseTo(10 ** (-narrow!.value / 10), 12);
    }
    const worse = tensors.filter(({ points }) => points[1]!.drop > points[0]!.drop);
    expect(worse.length).toBeGreaterThanOrEqual(tensors.length - 1);
    const rows = (await readFile(`${folder}/sensitivity.csv`, 'utf8')).trimEnd().split('\n');
    expect(rows[0]).toBe('kind,tensor,bits,sqnr,drop,bytes');
    expect(rows).toHaveLength(1 + 2 * tensors.length);
    expect(await readFile(`${folder}/sensitivity.html`, 'utf8')).toContain('conv at 2 bits: drop ');
  });

  it('quantizes the layers that are named, and what they read', async () => {
    const { json } = await sensitivity('--quantize', '--widths', '4', '--layers', 'fc', '--json');
    const { tensors } = JSON.parse(JSON.stringify(json())) as QuantizeSensitivityReport;
    expect(tensors.map(({ kind }) => kind)).toEqual(['weights', 'activation']);
    const { out } = await sensitivity('--quantize', '--widths', '4', '--layers', 'fc');
    expect(out).toMatch(/^fc +weights +0\.00$/m);
    expect(out).toContain('No tensor alone costs anything of top1 at 4 bits.');
  });

  it('draws the sparsities as a heat map too', async () => {
    const folder = shop.path('map');
    await sensitivity('--levels', '0.5', '--layers', 'fc', '-o', folder);
    expect(await readFile(`${folder}/sensitivity.html`, 'utf8')).toContain('fc at 50 %: drop ');
  });

  it.each([
    [['--quantize', '--widths', '9'], '--widths takes whole numbers of bits from 2 to 8'],
    [['--quantize', '--levels', '0.5'], "option '--quantize' cannot be used with option '--levels <shares>'"],
    [['--widths', '8'], '--widths goes with --quantize'],
    [['--class', 'AutomatedGradualPruner'], 'is no pruner that takes levels'],
    [['--levels', '0.5,1.5'], '--levels takes shares between 0 and 1'],
    [['--budget', 'macs=0.5'], 'zeros save no macs'],
    [['--budget', 'speed=2'], '--budget takes one of parameters, macs, bytes, latency'],
    [['--metric', 'psnr'], 'the metric "psnr" is not measured on this data'],
    [['--layers', 'nothing'], 'no layer with float weights is named by nothing'],
    [['--levels', '0.5', '--layers', 'fc', '--budget', 'parameters=0.1'], 'cannot be reached with these levels'],
  ])('refuses %j in one line', async (args, message) => {
    const { code, err } = await sensitivity(...args, '--quiet');
    expect(code).toBe(2);
    expect(err.split('\n')[0]).toContain(message);
  });
});
