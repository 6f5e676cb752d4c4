import { mkdir, readFile, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import * as z from 'zod';
import { makeModel, makeNode, makeValue } from '../../src/graph/build.ts';
import { readModel, writeModel } from '../../src/graph/file.ts';
import type { Metric } from '../../src/metrics/metric.ts';
import { sqnr } from '../../src/metrics/sqnr.ts';
import { minmax } from '../../src/numerics/minmax.ts';
import { sealed } from '../../src/numerics/fold.ts';
import type { RunOptions } from '../../src/run/run.ts';
import type { Limit } from '../../src/schedule/types.ts';

import { better, done, files, float, folder, noisy, out, ran, type Policy } from './own_runs.ts';
import { matching } from './support.ts';

describe('statistics of the calibration data', () => {
  const keeping = { options: ['extremes'], plain: (one: unknown) => one, schema: z.any() };
  const collects: Policy = {
    async apply(model, _, ctx) {
      await ctx.collect(model, new Map([['h', [sealed(minmax()) as never]]]), 6, undefined, { keeping });
      return done(better);
    },
  };

  it('are kept for the next run, which says so, unless the cache is off', async () => {
    await ran([collects], { cache: false });
    expect(await files()).not.toContain('statistics');
    expect((await ran([collects], { force: true })).report.notes).toHaveLength(2);
    const again = await ran([collects], { force: true });
    const line = /^statistics of 6 samples from an earlier run/;
    expect(again.report.notes.slice(2)).toEqual([matching(line)]);
    expect(again.texts('note')).toEqual([matching(line)]);
    expect(await readFile(join(out, 'qtool.log'), 'utf8')).toContain('samples from an earlier run');
  });

  it('go with a run that comes to nothing', async () => {
    const fails: Policy = { apply: () => Promise.reject(new Error('an inner fault')) };
    const both: Policy = { apply: async (...given) => (await collects.apply(...given), fails.apply(...given)) };
    await expect(ran([both])).rejects.toThrow('an inner fault');
    expect(await readdir(folder)).toEqual([]);
  });
});

describe('a run that is refused', () => {
  const limits: readonly [string, Limit, Partial<Metric>, RegExp, boolean][] = [
    ['a metric that is not measured', { metric: 'top1', maxDrop: 1, relative: false }, {}, /metric "top1" is not measured/, false], // prettier-ignore
    ['a drop from a perfect value without end', { metric: 'sqnr', maxDrop: 1, relative: false }, {}, /every drop from it is infinite/, false], // prettier-ignore
    ['a drop from a float model without end', { metric: 'sqnr', maxDrop: 1, relative: false }, { perfect: undefined }, /every drop from it is infinite/, true], // prettier-ignore
    ['the wrong side', { metric: 'sqnr', max: 1 }, {}, /better when higher/, true],
  ];
  it.each(limits)('for %s, by the policy', async (_, limit, change, message, measured) => {
    for (const [what, policy] of [
      ['gate', { gate: { ...limit, onFail: 'undo' } }],
      ['fallback', { fallback: { ...limit, timeBudget: undefined } }],
    ] as const) {
      const fails = ran([{ apply: () => done(better) }, { apply: () => done(better), ...policy }], { metrics: [{ ...sqnr(), ...change }] }); // prettier-ignore
      await expect(fails).rejects.toMatchObject({
        code: 'schedule',
        at: 's.yaml:2:1',
        message: matching(message),
      });
      const error = await fails.catch((e: unknown) => e as Error & { hint: string; data: { validation: { read: number } } }); // prettier-ignore
      expect((error as Error).message).toContain(what);
      if (limit.metric === 'top1') expect(error).toMatchObject({ hint: 'measured are: sqnr' });
      expect((error as { data: { validation: { read: number } } }).data.validation.read > 0).toBe(measured);
    }
    // Nothing was written.
    expect(await readdir(folder)).toEqual([]);
  });

  it('says so where nothing is measured at all', async () => {
    const gate = { metric: 'top1', min: 1, onFail: 'undo' } as const;
    await expect(ran([{ apply: () => done(better), gate }], { metrics: [] })).rejects.toMatchObject({
      hint: 'measured are: none',
    });
  });

  it('for a folder in use or one that holds the model, before any data is read', async () => {
    await mkdir(out);
    await writeFile(join(out, 'mine.txt'), 'keep');
    const refused = async (more: Partial<RunOptions>, hint: RegExp) => {
      const fails = ran([{ apply: () => done(better) }], more);
      await expect(fails).rejects.toMatchObject({ code: 'usage', hint: matching(hint), data: { validation: { read: 0 } } }); // prettier-ignore
    };
    await refused({}, /--force/);
    await writeModel(float, join(out, 'model.onnx'));
    await refused({ force: true, model: await readModel(join(out, 'model.onnx')) }, /another output folder/);
    expect(await files()).toEqual(['mine.txt', 'model.onnx']);
  });

  it('for a model that is not supported, or that onnxruntime does not load, before any data is read', async () => {
    const parts = { inputs: [makeValue('x', 'float32', ['N', 8])], outputs: [makeValue('y', 'float32', ['N', 8])], initializers: [] }; // prettier-ignore
    const one = (op: string, domain = '') => makeModel({ ...parts, opset: 13, nodes: [makeNode(op, ['x'], ['y'], {}, { domain })] }); // prettier-ignore
    for (const [model, code] of [
      [one('Relu', 'my.own'), 'model'],
      [one('NoSuch'), 'runtime'],
    ] as const)
      // prettier-ignore
      await expect(ran([], { model })).rejects.toMatchObject({ code, data: { validation: { read: 0 } } });
  });

  it('for data that cannot be read, and leaves no folder behind', async () => {
    const data = { calibration: noisy('c', 6), validation: noisy('v', 4, () => { throw new Error('a broken image'); }) }; // prettier-ignore
    await expect(ran([], { data: { ...data, notes: [], metrics: [], folder, batchSize: 2 } })).rejects.toThrow('a broken image'); // prettier-ignore
    expect(await readdir(folder)).toEqual([]);
  });
});
