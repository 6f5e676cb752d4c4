import { plain, type Paint } from '../../src/report/paint.ts';
import { visibleWidth } from '../../src/report/table.ts';
import { textReport } from '../../src/report/text.ts';
import { layers, report, stages, top1 } from './sample.ts';

const ansi = (code: number) => (text: string) => `\u001b[${code}m${text}\u001b[0m`;
const colourful: Paint = { bold: ansi(1), dim: ansi(2), red: ansi(31), green: ansi(32), yellow: ansi(33) };

const strip = (text: string) => text.replace(/\u001b\[[0-9;]*m/g, '');

const text = (width: number) => textReport(report, { paint: plain, width });
const rowOf = (all: string, start: RegExp) => all.split('\n').find((line) => start.test(line)) ?? '';

describe('textReport', () => {
  it('reads as it did when it was last looked at', () => {
    expect(text(120)).toMatchSnapshot();
  });

  it.each([100, 120, 160])('has no line wider than %i columns and none that ends in spaces', (width) => {
    const lines = text(width).split('\n');
    expect(lines.filter((line) => line.length > width)).toEqual([]);
    expect(lines.filter((line) => line !== line.trimEnd())).toEqual([]);
  });

  it('keeps words and verdicts whole in 80 columns, and names what it left out', () => {
    const out = text(80);
    expect(out.split('\n').filter((line) => line.length > 80)).toEqual([]);
    const row = rowOf(out, /^ *2 +prune/);
    expect(row).toMatch(/ undone$/);
    const words = report.stages.map(({ pass }) => pass);
    for (const word of words) expect(out).toContain(word);
    expect(out).toMatch(/^no room for zeros(, [a-z0-9 ]+)*: see report\.html$/m);
    // Without a column of speeds there is nothing to explain.
    expect(out.includes('×: speed')).toBe(!/no room for .*batch 1\b/.test(out));
    expect(text(160)).not.toContain('no room for');
  });

  it('says the same with colours and without', () => {
    const coloured = textReport(report, { paint: colourful, width: 110 });
    expect(coloured).not.toBe(strip(coloured));
    expect(strip(coloured)).toBe(text(110));
  });

  it('shows in the row of an undone stage what that stage had cost', () => {
    const row = rowOf(text(140), /^ *2 +prune/);
    expect(row).toMatch(/11\.35 ±0\.19 +87\.72 ±0\.66 .* 99\.0 % .* undone$/);
  });

  it('leaves the row of a stage empty whose model onnxruntime refused', () => {
    const refused = { ...stages[1]!, attempts: [{ strength: 'level 0.99', measurement: undefined, passed: false }] };
    const out = textReport({ ...report, stages: [refused] }, { paint: plain, width: 140 });
    expect(rowOf(out, /^2 +prune/)).toMatch(/^2 +prune\/level level 0\.99 +undone$/);
  });

  it('shows of an undone retry what was asked for, not the weakest try', () => {
    const { attempts } = stages[2]!;
    const undone = {
      ...stages[2]!,
      attempts: attempts.map((one) => ({ ...one, passed: false })),
      verdict: 'undone' as const,
    };
    const out = textReport({ ...report, stages: [undone] }, { paint: plain, width: 140 });
    expect(rowOf(out, /^3 +prune/)).toMatch(/level 0\.99 +11\.35/);
  });

  it('shows in the row of a retried stage the strength that held', () => {
    expect(rowOf(text(140), /^ *3 +prune/)).toMatch(/level 0\.74 .* 98\.80 ±0\.19 +0\.27 ±0\.12 .* retried$/);
  });

  it('says what zeros save and what they do not, where a pruner made them', () => {
    expect(text(160)).toContain(
      '41.0 % of the weights are zero: onnxruntime multiplies with them, so they save no time',
    );
    const dense = { ...report, result: { ...report.result, stages: [4] } };
    expect(textReport(dense, { paint: plain, width: 160 })).not.toContain('of the weights are zero');
  });

  it('lists every attempt of a retried stage with its verdict', () => {
    const block = text(120).slice(text(120).indexOf('3 bisected retried'));
    expect(block).toMatch(
      /tried level 0\.99: drop 87\.72 ±0\.66, failed\n.*tried level 0\.74: drop 0\.27 ±0\.12, held/,
    );
  });

  it('wraps what was tried and the gate, as all else', () => {
    const long = { strength: `level ${'0.5 '.repeat(30)}`, measurement: report.baseline, passed: false };
    const stages = report.stages.map((stage) => ({ ...stage, at: `${'folder/'.repeat(15)}s.yaml:3:1`, attempts: [...stage.attempts, long] })); // prettier-ignore
    const lines = textReport({ ...report, stages }, { paint: plain, width: 80 }).split('\n');
    const from = lines.findIndex((line) => line.startsWith('1 light'));
    expect(lines.slice(from, from + 12).filter((line) => line.length > 80)).toEqual([]);
    expect(lines.slice(from, from + 12).join(' ')).toMatch(/gate: .*tried level 0\.5/);
  });

  it('names each reason once and counts the layers it does not name', () => {
    const reasons = text(120)
      .split('\n')
      .filter((line) => line.includes('moves data only'));
    expect(reasons).toHaveLength(1);
    expect(reasons[0]).toContain('flatten, reshape_0');
    expect(text(120)).toContain('and 4 more');
    expect(text(120)).toContain('left alone by 4 ptq (11 layers)');
  });

  it('ends with path, bytes, drop, speed, coverage and packed sizes, in lines that fit', () => {
    const facts = 'top1 −0.11 ±0.10 points, 1.62× at batch 1, 3 of 3 layers integer';
    const size = 'runs/lenet5/model.onnx  446,301 bytes, 25.9 % of float';
    const packed = '(gzip 231 kB, brotli 210 kB)';
    const end = (width: number, lines: number) => text(width).split('\n').slice(-lines);
    expect(end(160, 1)).toEqual([`${size}, ${facts} ${packed}`]);
    expect(end(120, 2)).toEqual([`${size}, ${facts}`, `  ${packed}`]);
    expect(end(100, 2)).toEqual([size, `  ${facts} ${packed}`]);
    expect(end(80, 3)).toEqual([size, `  ${facts}`, `  ${packed}`]);
  });

  it('says where the layers have no room for why', () => {
    const layers = report.layers.map((layer) => ({ ...layer, why: 'runs as QLinearConv', own: 40 }));
    const at = (width: number) => textReport({ ...report, layers }, { paint: plain, width });
    expect(at(80)).toContain('  no room for the column why; a wider terminal has it, and --json');
    expect(at(160)).not.toContain('no room for the column why');
  });

  it('says that a stopped run is not the whole schedule', () => {
    const stopped = { ...report, result: { ...report.result, status: 'stopped' as const } };
    expect(textReport(stopped, { paint: plain, width: 120 })).toMatch(/stopped; the best model so far\)$/);
  });

  it('keeps only the layers of lowest SQNR where there are many, and says so', () => {
    const many = Array.from({ length: 60 }, (_, i) => ({ ...layers[0]!, layer: `layer${i}.`, sqnr: 100 - i }));
    const out = textReport({ ...report, layers: many }, { paint: plain, width: 120 });
    expect(out).toContain('layer59.');
    expect(out).toContain('layer20.');
    expect(out).not.toContain('layer19.');
    expect(out).toContain('all 60 stand in report.html');
  });

  it('prints a run without metrics, latency, stages or layers', () => {
    const bare = { metrics: [], bytes: 100, zeros: 0, latency: [] };
    const empty = {
      ...report,
      baseline: bare,
      stages: [],
      layers: [],
      result: { ...report.result, measurement: bare },
    };
    const out = textReport(empty, { paint: plain, width: 100 });
    expect(out).toContain('float model');
    expect(out).not.toMatch(/undefined|NaN|±|×:/);
  });

  it('marks a drop below its own interval as possible noise by dimming it', () => {
    const real = { ...stages[0]!, measurement: { ...report.baseline, metrics: [top1(98, 1.07)] } };
    const out = textReport({ ...report, stages: [stages[0]!, real] }, { paint: colourful, width: 140 });
    expect(out).toContain(colourful.dim('0.02 ±0.12'));
    expect(out).toContain(colourful.yellow('1.07 ±0.12'));
  });
});

describe('visibleWidth', () => {
  it('counts characters, not colours', () => {
    expect(visibleWidth(colourful.red(colourful.bold('abc')))).toBe(3);
  });
});
