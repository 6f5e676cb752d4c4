import { readFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { modelBytes, readModel } from '../../src/graph/file.ts';
import { makeTensor } from '../../src/graph/tensor.ts';
import type { RunEvent } from '../../src/run/event.ts';

import { noise } from '../helpers/models.ts';

import {
  better,
  done,
  fileHash,
  files,
  float,
  folder,
  net,
  noisy,
  nothing,
  out,
  ran,
  reported,
  type Policy,
} from './own_runs.ts';
import { matching } from './support.ts';

describe('a run that comes to its end', () => {
  it('reports everything it knows, in the folder and as a value', async () => {
    const began = Date.now();
    const { report } = await ran([{ apply: () => done(better) }]);
    expect(Date.parse(report.started)).toBeGreaterThanOrEqual(began);
    expect(report.seconds * 1000).toBeLessThanOrEqual(Date.now() - began);
    expect(report.seconds).toBeGreaterThan(0);
    const file = await readFile(join(out, 'model.onnx'));
    expect(report).toMatchObject({
      ...{ format: 1, command: 'qtool quantize', schedule: 'version: 1' },
      tool: { node: process.version, platform: `${process.platform} ${process.arch}`, cpu: matching(/^\S.*\S$/) }, // prettier-ignore
      // 64 + 64 + 3 + 5 + 7 numbers of floating-point type.
      model: { path: '', bytes: modelBytes(float), opset: 13, parameters: 143 },
      data: { calibration: { source: 'calibration' }, validation: { source: 'validation' }, notes: ['of the data'] },
      baseline: { metrics: [{ name: 'sqnr', value: Infinity }], bytes: modelBytes(float), zeros: 0, latency: [] },
      stages: [{ index: 1, verdict: 'kept' }],
      layers: [{ layer: 'one' }, { layer: 'two' }],
      result: {
        ...{ path: join(out, 'model.onnx'), sha256: await fileHash('model.onnx'), stages: [1] },
        ...{ gated: false, status: 'finished', gzip: gzipSync(file, { level: 9 }).length, levels: { samples: 6 } },
      },
    });
    expect(report.result.brotli).toBeGreaterThan(100);
    expect(report.result.measurement).toBe(report.stages[0]?.measurement);
    expect(report.notes).toEqual(['decay (s.yaml:9:1) waits for training: it trains', 'of the schedule']);
    expect(await files()).toEqual(['model.onnx', 'qtool.log', 'report.html', 'report.json', 'schedule.yaml']);
    expect(await readFile(join(out, 'report.html'), 'utf8')).toBe('<p>finished</p>');
    expect(await readFile(join(out, 'schedule.yaml'), 'utf8')).toBe('version: 1');
  });

  it('tells and logs what it does', async () => {
    const { events, texts } = await ran([{ apply: () => done(better) }, { apply: (model) => ({ ...nothing, model }) }]);
    expect(texts('phase')).toEqual(['float baseline', 'stage 1 of 2: test/own', 'stage 2 of 2: test/own', 'report']);
    expect(new Set(texts('progress'))).toContain('measuring');
    expect(events.filter(({ kind }) => kind === 'baseline' || kind === 'stage').map(({ kind }) => kind)).toEqual(['baseline', 'stage', 'stage']); // prettier-ignore
    expect(events.find(({ kind }) => kind === 'baseline')).toMatchObject({ measurement: { metrics: [{ name: 'sqnr' }] } }); // prettier-ignore
    const lines = (await readFile(join(out, 'qtool.log'), 'utf8')).trimEnd().split('\n');
    const said = lines.map((line) => {
      const [, time, event] = /^(\S+) (\{.*\})$/.exec(line)!;
      expect(Date.parse(time!)).not.toBeNaN();
      return (JSON.parse(event!) as RunEvent).kind;
    });
    // The folder is opened when the baseline is known.
    expect(said).toEqual(['baseline', 'phase', 'stage', 'phase', 'stage', 'phase']);
  });

  it('measures nothing where that is not wanted, and asks no gate', async () => {
    const gate = { metric: 'top1', maxDrop: 1, relative: false, onFail: 'stop' } as const;
    const { report, data } = await ran([{ apply: () => done(better), gate }], { measure: false, render: undefined as never }); // prettier-ignore
    expect([report.baseline.metrics, report.result.stages, report.layers, data.validation.read]).toEqual([[], [1], [], 0]); // prettier-ignore
    expect(await files()).not.toContain('report.html');
  });

  it('gives the float model where no stage is kept', async () => {
    const gate = { metric: 'sqnr', min: 200, onFail: 'undo' } as const;
    const { report } = await ran([{ apply: () => done(net(1)), gate }]);
    expect(report.result).toMatchObject({ path: join(out, 'model.onnx'), stages: [], status: 'finished', gated: true });
    expect(report.result.measurement).toEqual(report.baseline);
    expect((await readModel(join(out, 'model.onnx'))).graph.node).toHaveLength(3);
  });

  it('ends at a stage that says stop, with a model where an earlier one gave one', async () => {
    const gate = { metric: 'sqnr', min: 200, onFail: 'stop' } as const;
    const { report } = await ran([{ apply: () => done(net(1)), gate }, { apply: () => done(better) }]);
    expect(report.result).toMatchObject({ status: 'stopped', stages: [], gzip: 0, brotli: 0 });
    expect([report.result.path, report.result.sha256, report.stages.length]).toEqual([undefined, undefined, 1]);
    const second = await ran([{ apply: () => done(better) }, { apply: () => done(net(1)), gate }], { force: true });
    expect(second.report.result).toMatchObject({ status: 'stopped', stages: [1], path: join(out, 'model.onnx') });
    expect(await files()).toContain('model.onnx');
  });

  it('says where it is no faster than float, once something changed', async () => {
    // Products of 256 × 256 beside ones of 8 × 8: nothing makes that as quick. Of a fixed batch only that is timed.
    const model = net(0, 1);
    const slow = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', [1, 8])],
      outputs: [makeValue('y', 'float32', [1, 8])],
      initializers: [
        makeTensor('a', 'float32', [8, 256], noise(1, 2048)),
        ...[1, 2, 3].map((i) => makeTensor(`m${i}`, 'float32', [256, 256], noise(i, 256 * 256))),
        makeTensor('b', 'float32', [256, 8], noise(2, 2048)),
      ],
      nodes: [['x', 'a', 'h'], ['h', 'm1', 'i'], ['i', 'm2', 'j'], ['j', 'm3', 'k'], ['k', 'b', 'y']].map(([x, w, y]) => makeNode('MatMul', [x!, w!], [y!])), // prettier-ignore
    });
    const slower = [matching(/^the model is (slower|not surely faster) than float/)];
    const waits = ['decay (s.yaml:9:1) waits for training: it trains', 'of the schedule'];
    expect((await ran([{ apply: () => done(slow) }], { model, latency: true })).report.notes).toEqual([
      ...slower,
      ...waits,
    ]);
    const idle = await ran([{ apply: () => ({ ...nothing, model }) }], { model, latency: true, force: true });
    expect(idle.report.notes).toEqual([matching(/^there is nothing to compress/), ...waits]);
  });

  it('names three of the layers that are quantized already where no stage changes any', async () => {
    const count = 5;
    const made = makeModel({
      opset: 13,
      ir: 8,
      inputs: [makeValue('x', 'float32', ['N', 8])],
      outputs: [makeValue('y', 'float32', ['N', 8])],
      initializers: [makeTensor('w', 'int8', [8, 8], new Int8Array(64).fill(1))],
      nodes: [
        makeNode('DynamicQuantizeLinear', ['x'], ['q', 's', 'z']),
        ...Array.from({ length: count }, (_, i) => makeNode('MatMulInteger', ['q', 'w', 'z'], [`i${i}`], {}, { name: `product${i}` })), // prettier-ignore
        makeNode('Sum', Array.from({ length: count }, (_, i) => `f${i}`), ['f']), // prettier-ignore
        ...Array.from({ length: count }, (_, i) => makeNode('Cast', [`i${i}`], [`f${i}`], { to: 1 })),
        makeNode('Mul', ['f', 's'], ['y']),
      ].sort((a, b) => ['DynamicQuantizeLinear', 'MatMulInteger', 'Cast', 'Sum', 'Mul'].indexOf(a.op_type) - ['DynamicQuantizeLinear', 'MatMulInteger', 'Cast', 'Sum', 'Mul'].indexOf(b.op_type)), // prettier-ignore
    });
    const idle: Policy = { apply: (model) => ({ ...nothing, model }) };
    const { report } = await ran([idle, idle], { model: made });
    expect(report.notes[0]).toMatch(/already quantized: product0, product1, product2 and 2 more$/);
    const undone = { ...idle, gate: { metric: 'sqnr', min: 200, onFail: 'undo' } as const };
    for (const policies of [
      [],
      [idle, { apply: () => done(better) }],
      [{ ...undone, apply: () => ({ ...nothing, model: net(1) }) }],
    ])
      // prettier-ignore
      expect((await ran(policies, { force: true })).report.notes.join()).not.toContain('nothing to compress');
  });
});

describe('a run that is interrupted', () => {
  it('before its first stage has no model', async () => {
    const stopper = new AbortController();
    const data = { calibration: noisy('c', 6), validation: noisy('v', 4, (i) => i === 2 && stopper.abort()) };
    const { report, texts } = await ran([{ apply: () => done(better) }], { data: { ...data, notes: [], metrics: [], folder, batchSize: 2 }, signal: stopper.signal }); // prettier-ignore
    expect(report.result).toMatchObject({ status: 'cancelled', stages: [], gzip: 0 });
    expect([report.result.path, report.stages]).toEqual([undefined, []]);
    expect(texts('note')).toEqual([matching(/^cancelled: no stage/)]);
    expect(await files()).toEqual(['qtool.log', 'report.html', 'report.json', 'schedule.yaml']);
  });

  it('keeps the best model so far', async () => {
    const stopper = new AbortController();
    const { report, texts } = await ran(
      [{ apply: () => done(better) }, { apply: () => (stopper.abort(), done(net(1))) }, { apply: () => done(net(2)) }],
      { signal: stopper.signal },
    );
    expect(report.result).toMatchObject({ status: 'cancelled', stages: [1], path: join(out, 'model.onnx') });
    expect(texts('note')).toEqual([matching(/^cancelled: the best model so far is kept/)]);
    expect(report.result.sha256).toBe(await fileHash('model.onnx'));
  });

  it('between two stages begins no other', async () => {
    const stopper = new AbortController();
    const last = { apply: () => Promise.reject(new Error('begun')) };
    const log = (event: RunEvent): void => void (event.kind === 'stage' && stopper.abort());
    const { report } = await ran([{ apply: () => done(better) }, last], { signal: stopper.signal, log, measure: false }); // prettier-ignore
    expect(report.result).toMatchObject({ status: 'cancelled', stages: [1] });
  });
});

describe('a run that fails', () => {
  const fails: Policy = { apply: () => Promise.reject(new Error('an inner fault')) };
  const kept: Policy = { apply: () => done(better) };

  it.each([
    ['stage 1 made', [kept, fails]],
    ['stages 1, 2 made', [kept, kept, fails]],
  ])('keeps what %s, under another name, and says so', async (what, policies) => {
    const error = (await ran(policies).catch((e: unknown) => e)) as Error & { texts: (kind: 'note') => string[] };
    expect(error.message).toBe('an inner fault');
    expect(await files()).toEqual(['model.partial.onnx', 'qtool.log', 'report.html', 'report.json', 'schedule.yaml']);
    const { result, warnings } = await reported();
    const partial = join(out, 'model.partial.onnx');
    expect(result).toMatchObject({ status: 'failed', path: partial, sha256: await fileHash('model.partial.onnx') });
    expect(warnings).toEqual([matching(/^failed: an inner fault\. What .*it is no result$/)]);
    expect(warnings[0]).toContain(`${what} is kept as ${partial}`);
    expect(error.texts('note')).toEqual(warnings);
  });

  it('leaves nothing where nothing was reached', async () => {
    await expect(ran([fails])).rejects.toThrow('an inner fault');
    expect(await readdir(folder)).toEqual([]);
  });

  it('tells the first error, also where the report of it cannot be written', async () => {
    const render = (): never => {
      throw new Error('no page');
    };
    await expect(ran([kept, fails], { render })).rejects.toThrow('an inner fault');
    // What is thrown need not be an error.
    const odd: Policy = { apply: () => Promise.reject('words') }; // eslint-disable-line @typescript-eslint/prefer-promise-reject-errors
    await ran([kept, odd], { force: true }).catch(() => undefined);
    expect((await reported()).warnings[0]).toMatch(/^failed: words\./);
  });
});
