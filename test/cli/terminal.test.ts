import { PassThrough } from 'node:stream';
import { barProgress } from '../../src/cli/bar.ts';
import { paintFor, wantsColor } from '../../src/cli/color.ts';
import { errorObject, errorText, exitCodeOf } from '../../src/cli/errors.ts';
import { interruptible } from '../../src/cli/interrupt.ts';
import { plainProgress, progressFor } from '../../src/cli/progress.ts';
import { plain } from '../../src/report/paint.ts';
import { QtoolError, type ErrorCode } from '../../src/util/error.ts';
import { report, stages } from '../report/sample.ts';
import { fakeIo } from './fake_io.ts';

describe('wantsColor', () => {
  it.each<[string, boolean | undefined, Record<string, string>, boolean, boolean]>([
    ['a terminal', undefined, {}, true, true],
    ['a pipe', undefined, {}, false, false],
    ['a dumb terminal', undefined, { TERM: 'dumb' }, true, false],
    ['NO_COLOR', undefined, { NO_COLOR: '1' }, true, false],
    ['an empty NO_COLOR', undefined, { NO_COLOR: '' }, true, true],
    ['FORCE_COLOR in a pipe', undefined, { FORCE_COLOR: '1' }, false, true],
    ['an empty FORCE_COLOR in a pipe', undefined, { FORCE_COLOR: '' }, false, true],
    ['FORCE_COLOR=0 on a terminal', undefined, { FORCE_COLOR: '0' }, true, false],
    ['both', undefined, { FORCE_COLOR: '1', NO_COLOR: '1' }, false, true],
    ['--color against NO_COLOR', true, { NO_COLOR: '1' }, false, true],
    ['--no-color against FORCE_COLOR', false, { FORCE_COLOR: '1' }, true, false],
  ])('%s', (_name, flag, env, tty, expected) => {
    expect(wantsColor(flag, env, tty)).toBe(expected);
  });

  it('paints only where wanted, whatever the environment says', async () => {
    expect((await paintFor(false)).red('x')).toBe('x');
    expect((await paintFor(true)).red('x')).toBe('\u001b[31mx\u001b[39m');
  });
});

describe('errors', () => {
  it('are one line with place, and one with the hint', () => {
    const error = new QtoolError('schedule', 'unknown key', { at: 'a.yaml:3:1', hint: 'remove it' });
    expect(errorText(error, plain)).toBe('qtool: a.yaml:3:1: unknown key\n  hint: remove it\n');
    expect(errorText(new QtoolError('usage', 'no'), plain)).toBe('qtool: no\n');
  });

  it('keep their stack where they are bugs', () => {
    expect(errorText(new TypeError('x is undefined'), plain)).toMatch(
      /bug in qtool.*\nTypeError: x is undefined\n +at /s,
    );
    expect(errorText('thrown text', plain)).toContain('thrown text');
  });

  it.each<[ErrorCode, number]>([
    ['usage', 2],
    ['model', 2],
    ['data', 2],
    ['schedule', 2],
    ['graph', 2],
    ['runtime', 2],
    ['gate', 1],
    ['cancelled', 130],
  ])('of code %s exit %i', (code, expected) => {
    expect(exitCodeOf(new QtoolError(code, 'x'))).toBe(expected);
  });

  it('that are bugs exit 70', () => {
    expect(exitCodeOf(new Error('x'))).toBe(70);
    expect(errorObject(new Error('x'))).toEqual({ error: { code: 'bug', message: 'x' } });
  });
});

describe('interruptible', () => {
  it('aborts at the first Ctrl-C and exits 130 at the second', async () => {
    const io = fakeIo();
    const seen = await interruptible(io, async (signal) => {
      io.interrupt();
      const after = [signal.aborted, [...io.exits]] as const;
      io.interrupt();
      return after;
    });
    expect(seen).toEqual([true, []]);
    expect(io.exits).toEqual([130]);
    expect(io.err()).toMatch(/^qtool: stopping .* Ctrl-C again ends at once\n$/);
  });

  it('takes the bar off the terminal before it says a word', async () => {
    const io = fakeIo();
    const before: string[] = [];
    await interruptible(
      io,
      () => Promise.resolve(io.interrupt()),
      () => before.push(io.err()),
    );
    expect(before).toEqual(['']);
    expect(io.err()).toContain('stopping after this step');
  });

  it('stops listening when the work ends, also in an error', async () => {
    const io = fakeIo();
    await expect(interruptible(io, () => Promise.reject(new Error('work')))).rejects.toThrow('work');
    io.interrupt();
    expect([io.err(), io.exits]).toEqual(['', []]);
  });
});

describe('plainProgress', () => {
  const shown = (steps: readonly (readonly [ms: number, done: number])[]) => {
    let time = 0;
    const lines: string[] = [];
    const progress = plainProgress(
      (line) => lines.push(line),
      () => time,
    );
    progress.show({ kind: 'phase', text: 'calibrating' });
    for (const [ms, done] of steps) {
      time = ms;
      progress.show({ kind: 'progress', done, text: 'x' });
    }
    return lines;
  };

  it('prints each 10 % once, and no end', () => {
    const steps = Array.from({ length: 101 }, (_, i) => [i * 500, i / 100] as const);
    expect(shown(steps)).toEqual(['calibrating', ...[10, 20, 30, 40, 50, 60, 70, 80, 90].map((n) => `  ${n} % x`)]);
  });

  it('says nothing about what is over at once', () => {
    expect(shown(Array.from({ length: 101 }, (_, i) => [i, i / 100] as const))).toEqual(['calibrating']);
  });

  it('begins anew where progress falls back', () => {
    expect(
      shown([
        [3000, 0.5],
        [6000, 0.1],
        [9000, 0.2],
      ]),
    ).toEqual(['calibrating', '  50 % x', '  20 % x']);
  });

  it('prints the baseline, stages and notes', () => {
    const lines: string[] = [];
    const progress = plainProgress((line) => lines.push(line));
    progress.show({ kind: 'baseline', measurement: report.baseline });
    progress.show({ kind: 'stage', report: stages[1]! });
    progress.show({ kind: 'note', text: 'random input' });
    expect(lines).toEqual([
      '  1.73 MB, top1 % 99.07 ±0.19, sqnr dB ∞',
      '  2 harsh: undone, top1 dropped 87.72 points, 0.50 allowed (1.2 s)',
      '  note: random input',
    ]);
  });
});

describe('progressFor', () => {
  it('says nothing when asked to be quiet, and writes plain lines without a terminal', async () => {
    const [loud, quiet] = [fakeIo(), fakeIo()];
    for (const [io, hush] of [
      [loud, false],
      [quiet, true],
    ] as const)
      (await progressFor(io, hush)).show({ kind: 'phase', text: 'baseline' });
    expect([loud.err(), loud.out(), quiet.err()]).toEqual(['baseline\n', '', '']);
  });
});

describe('barProgress', () => {
  it('draws one bar a phase with percentage and text, and leaves the terminal clean', () => {
    const stream = Object.assign(new PassThrough(), { isTTY: true, columns: 100 });
    let drawn = '';
    stream.on('data', (chunk: Buffer) => (drawn += chunk.toString()));
    const io = { stderr: (text: string) => void stream.write(text) };
    const terminal = { ...stream, cursorTo: () => true, clearLine: () => true };
    Object.assign(stream, terminal);
    const progress = barProgress(io, stream);
    progress.show({ kind: 'phase', text: 'measuring' });
    progress.show({ kind: 'progress', done: 0.25, text: 'batch 1' });
    progress.show({ kind: 'progress', done: 0.5, text: 'batch 2' });
    progress.close();
    progress.close();
    expect(drawn).toContain('measuring\n');
    // Nothing is known yet of how long it takes.
    expect(drawn).toMatch(/25 % {2}batch 1/);
    expect(drawn).not.toMatch(/NF|NULL|0s/);
    expect(drawn).not.toMatch(/\{\w+\}/);
    // The cursor that the bar hid is shown again.
    expect(drawn.lastIndexOf('\u001b[?25h')).toBeGreaterThan(drawn.lastIndexOf('\u001b[?25l'));
  });

  it('guesses the time left once something is done, and keeps lines within the terminal', async () => {
    const stream = Object.assign(new PassThrough(), { isTTY: true, columns: 60, cursorTo: () => true, clearLine: () => true }); // prettier-ignore
    let drawn = '';
    stream.on('data', (chunk: Buffer) => (drawn += chunk.toString()));
    const progress = barProgress({ stderr: (text) => void stream.write(text), columns: 60 }, stream);
    progress.show({
      kind: 'note',
      text: 'level: kept, its 95 % interval on 500 samples holds the limit: more may decide',
    });
    expect(drawn.split('\n').every((line) => line.length <= 60)).toBe(true);
    expect(
      drawn
        .split('\n')
        .slice(0, 2)
        .every((line) => /^ {2}\S/.test(line)),
    ).toBe(true);
    progress.show({ kind: 'progress', done: 0, text: 'a' });
    // The first picture of a bar may be drawn again with what came since.
    await new Promise((done) => setTimeout(done, 30));
    for (const done of [0.1, 0.2]) {
      progress.show({ kind: 'progress', done, text: 'b' });
      await new Promise((wait) => setTimeout(wait, 300));
    }
    progress.close();
    expect(drawn).toMatch(/20 % {2}\d+(\.\d)? s left {2}b/);
  });
});
