import { epochNotes, leftAlone } from '../../src/report/epoch_notes.ts';
import { epochTable, shownStages } from '../../src/report/epochs.ts';
import { runs } from '../../src/report/format.ts';
import { htmlReport } from '../../src/report/html.ts';
import { training } from '../../src/report/page/training.ts';
import { plain } from '../../src/report/paint.ts';
import { textReport } from '../../src/report/text.ts';
import type { RunReport, StageReport } from '../../src/run/report.ts';
import { report, stages, top1 } from './sample.ts';

/** A stage of an epoch: the loss falls, and the gate holds from epoch 8 on. */
function epoch(index: number, changed: Partial<StageReport> = {}): StageReport {
  const at = index - 1;
  const measurement = { ...report.baseline, metrics: [top1(95 + 0.1 * at, 4 - 0.1 * at)], zeros: at / 40 };
  return {
    ...stages[0]!,
    index,
    instance: 'training',
    pass: 'train/epoch',
    class: 'TrainingEpoch',
    epoch: at,
    attempts: [{ strength: '', measurement, passed: at >= 8 }],
    measurement,
    skipped: [{ layer: 'emb', text: 'no entry of the pruner names it' }],
    notes: [
      `ramp: sparsity ${(at / 40).toFixed(2)} at epoch ${at}`,
      ...(at < 5 ? ['ramp: fc: no entry of the pruner names it'] : []),
    ],
    trained: { epoch: at, loss: 1 / index, accuracy: 90 + at / 4, lr: at < 12 ? 0.1 : 0.01, steps: 10, samples: 640 },
    ...changed,
  };
}
const trained = (count: number): RunReport => ({
  ...report,
  stages: [...Array.from({ length: count }, (_, i) => epoch(i + 1)), { ...stages[3]!, index: count + 1 }],
});

describe('epochs of training in a report', () => {
  it('are named by where they begin and end', () => {
    expect([[0, 1, 2, 5], [3], [0, 2, 4, 6], [], [1, 2], [4, 6]].map(runs)).toEqual(['0–2, 5', '3', '0–6 by 2', '', '1–2', '4, 6']); // prettier-ignore
  });

  it('say once what many of them say, with the epochs that it holds for', () => {
    expect(epochNotes(trained(20))).toEqual([
      'epochs 0–19: ramp: sparsity 0.00 at epoch 0 … ramp: sparsity 0.47 at epoch 19',
      'epochs 0–4: ramp: fc: no entry of the pruner names it',
    ]);
    expect(leftAlone(trained(20)).map(({ name }) => name)).toEqual(['1–20 training', '21 ptq']);
    const text = textReport(trained(20), { paint: plain, width: 100 });
    expect(text.match(/no entry of the pruner names it/g)).toHaveLength(2);
  });

  it('stand in the terminal by those that matter where they are many', () => {
    const all = trained(20);
    // The first, where the gate began to hold, where the rate fell, the last; and the stage behind them.
    expect(shownStages(all).map(({ index }) => index)).toEqual([1, 9, 13, 20, 21]);
    expect(shownStages(trained(12))).toHaveLength(13);
    const undone = {
      ...all,
      stages: all.stages.map((stage, i) => (i === 3 ? { ...stage, verdict: 'undone' as const } : stage)),
    };
    expect(shownStages(undone).map(({ index }) => index)).toEqual([1, 4, 9, 13, 20, 21]);
    expect(epochTable(all, plain, 100).split('\n')).toEqual([
      'epoch     loss  accuracy %    lr       top1 %   zeros',
      '─────────────────────────────────────────────────────',
      '    0        1       90.00   0.1  95.00 ±0.19   0.0 %',
      '    8   0.1111       92.00   0.1  95.80 ±0.19  20.0 %',
      '   12  0.07692       93.00  0.01  96.20 ±0.19  30.0 %',
      '   19     0.05       94.75  0.01  96.90 ±0.19  47.5 %',
      'loss and accuracy: of the training samples, as they were met; 4 of 20 epochs: all stand in',
      'report.html and report.json',
    ]);
    expect(epochTable(report, plain, 100)).toBe('');
  });

  it('are curves and a whole table on the page, with words for who does not see them', () => {
    const page = htmlReport(trained(20));
    expect(page).toContain('<section id="training">');
    expect(page).toContain('aria-label="training loss, over 20 epochs: from 1 to 0.05"');
    expect(page).toContain('<title>epoch 12: lr 0.01</title>');
    const html = training(trained(20));
    expect(html.match(/<tr>/g)).toHaveLength(21);
    expect(html.match(/<figure>/g)).toHaveLength(3);
    expect(training(report)).toBe('');
    // One epoch, and a loss that is no number: no path to nowhere.
    const odd = { ...report, stages: [epoch(1, { trained: { epoch: 0, loss: NaN, lr: 0, steps: 1, samples: 1 } })] };
    expect(training(odd)).not.toMatch(/NaN|Infinity|undefined/);
  });
});
