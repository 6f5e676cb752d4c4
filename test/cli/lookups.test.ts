import type { EpochPlan } from '../../src/passes/train/plan.ts';
import { namedSchedules } from '../../src/api/schedule.ts';
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { main } from '../../src/cli/main.ts';
import type { PassesReport } from '../../src/cli/commands/passes.ts';
import { headOf, type ScheduleFacts } from '../../src/cli/commands/schedules.ts';
import { examples } from '../../src/cli/examples.ts';
import { passes } from '../../src/passes/index.ts';
import { exampleSchedule } from '../../src/schedule/example.ts';
import { parseSchedule } from '../../src/schedule/parse.ts';
import { fakeIo } from './fake_io.ts';
import { furnish, openWorkshop } from './workshop.ts';

async function qtool(...args: string[]) {
  const io = fakeIo({ columns: 80 });
  const code = await main(args, io);
  return { code, out: io.out(), err: io.err() };
}

const tooWide = (text: string): string[] => text.split('\n').filter((line) => line.length > 80);

describe('qtool schedules', () => {
  it('says of each what it is for, in 80 columns', async () => {
    const { schedules } = JSON.parse((await qtool('schedules', '--json')).out) as { schedules: ScheduleFacts[] };
    expect(schedules.map(({ name }) => name)).toContain('int8');
    for (const { title, purpose, command } of schedules) {
      expect(title).toMatch(/\.$/);
      expect(purpose).not.toBe('');
      expect(command).toMatch(/^qtool quantize /);
    }
    const { out } = await qtool('schedules');
    expect(out).toMatch(/^ {2}int8 {2,}INT8 weights and activations/m);
    expect(tooWide(out)).toEqual([]);
  });

  it('reads paragraphs of several lines', () => {
    const text =
      '# One.\n#\n# Purpose   this and\n#           that\n# Measured  1\nversion: 1\n# Source    not the head\n';
    expect(headOf(text)).toEqual({ title: 'One.', purpose: 'this and that', source: '', command: '', measured: '1' });
  });
});

describe('qtool explain', () => {
  it.each(passes.map((pass) => [pass.name, pass] as const))('gives a schedule with %s that runs', (_name, pass) => {
    const { stages } = parseSchedule(exampleSchedule(pass), 'example.yaml', { passes });
    // What needs training runs within its epochs.
    const plans = stages.flatMap(({ epoch, options }) => (epoch ? [options as EpochPlan] : []));
    const within = plans.flatMap(({ policies, learner }) => [...policies.map((one) => one.pass.name), ...(learner ? [learner.kind.name] : [])]); // prettier-ignore
    expect([...stages.map((stage) => stage.pass.name), ...within]).toContain(pass.name);
  });

  it.each(passes.map((pass) => [pass.name, pass.classes[0] ?? '']))(
    'names the file that holds %s',
    async (_name, one) => {
      const [, file = ''] = /^ {2}source code +(\S+) of the repository$/m.exec((await qtool('explain', one)).out) ?? [];
      expect([file, existsSync(new URL(`../../${file}`, import.meta.url))]).toEqual([file, true]);
    },
  );

  it('shows options, their defaults and the example', async () => {
    const { code, out } = await qtool('explain', 'AdaRound');
    expect(code).toBe(0);
    expect(out).toMatch(/^samples +integer 0\.\. +512 +calibration samples$/m);
    expect(out).toContain('  extensions:\n    mine:\n      class: AdaRound\n');
    expect(tooWide(out)).toEqual([]);
  });

  it.each([
    ['AdaRuond', /no pass is called "AdaRuond" \(did you mean "AdaRound"\?\)/],
    ['postrainlinear', /did you mean "PostTrainLinearQuantizer"/],
    ['fold', /\n {2}hint: near are: FoldConstants, FoldGemm/],
  ])('suggests names near to %s', async (name, message) => {
    const { code, err } = await qtool('explain', name);
    expect(code).toBe(2);
    expect(err).toMatch(message);
    expect(err.trimEnd().split('\n')).toHaveLength(2);
  });
});

describe('the options of every class', () => {
  it('have a meaning, and a default where there is one', async () => {
    const { passes: told } = JSON.parse((await qtool('passes', '--json')).out) as PassesReport;
    const bare = told.flatMap(({ name, options }) => options.filter(({ description }) => description === '').map((one) => `${name} ${one.name}`)); // prettier-ignore
    expect(bare).toEqual([]);
    const of = (pass: string, option: string) => told.find(({ name }) => name === pass)?.options.find(({ name }) => name === option)?.default; // prettier-ignore
    expect([of('quantize/static', 'bits_weights'), of('quantize/static', 'bits_activations')]).toEqual([8, 8]);
    expect(of('recover/adaround', 'beta_start')).toBe(20);
  });
});

describe('qtool help', () => {
  it('says that it has no JSON', async () => {
    for (const words of [
      ['help', 'quantize', '--json'],
      ['help', '--json'],
    ]) {
      const { code, out, err } = await qtool(...words);
      expect(code).toBe(2);
      expect(out + err).toContain('no JSON form');
    }
  });

  it('shows what --help does', async () => {
    expect((await qtool('help')).out).toBe((await qtool('--help')).out);
    expect((await qtool('help', 'check')).out).toBe((await qtool('check', '--help')).out);
  });

  it('suggests a command', async () => {
    const { code, err } = await qtool('help', 'chekc');
    expect(code).toBe(2);
    expect(err).toMatch(/there is no command "chekc" \(did you mean "check"\?\)/);
  });

  it('names an option that is meant before one that is missing', async () => {
    const { code, err } = await qtool('quantize', 'm.onnx', '--shedule=int8');
    expect(code).toBe(2);
    expect(err).toMatch(/^qtool: unknown option '--shedule' \(Did you mean --schedule\?\)\n/);
  });

  it('names the choice of an option that is meant', async () => {
    const { code, err } = await qtool('eval', 'm.onnx', '--data', 'd', '--preprocess', 'torchvison');
    expect(code).toBe(2);
    expect(err).toMatch(
      /^qtool: option '--preprocess <name>' argument 'torchvison' is invalid\. Allowed .* \(Did you mean torchvision\?\)\n/,
    );
    expect((await qtool('eval', 'm.onnx', '--data', 'd', '--preprocess', 'zzzz')).err).not.toContain('Did you mean');
    expect((await qtool('eval', 'm.onnx', '--data', 'd', '--layout', 'NHCW')).err).toContain('(Did you mean NCHW?)');
  });

  it('has examples for every command, which run one after the other', async () => {
    const shop = await openWorkshop();
    const before = process.cwd();
    try {
      await furnish(shop);
      process.chdir(shop.path());
      for (const name of (await qtool('help')).out.match(/(?<=^ {2})[a-z-]+(?= )/gm) ?? []) {
        const { out } = await qtool('help', name);
        const lines = out.split('\nExamples:\n')[1]?.trim().split('\n') ?? [];
        expect([name, lines.length > 0]).toEqual([name, true]);
        for (const line of lines) {
          const words = line.replace(/^ *(eval "\$\()?qtool | \| source$|\)"$/g, '').split(' ');
          // Seconds a line, and no other way through the command.
          const quick = out.includes('--no-latency') ? ['--no-latency'] : [];
          const { code, err } = await qtool(...words, ...quick);
          expect([line, code, code === 0 ? '' : err]).toEqual([line, 0, '']);
        }
      }
    } finally {
      process.chdir(before);
      await shop.remove();
    }
  }, 60_000);

  it('has no example of a command that there is not', async () => {
    for (const name of Object.keys(examples)) expect((await qtool('help', name)).code).toBe(0);
  }, 300_000);
});

describe('qtool completion', () => {
  it('completes commands, options and names in bash, and files otherwise', async () => {
    const { code, out } = await qtool('completion', 'bash');
    expect(code).toBe(0);
    const complete = (...words: string[]): string[] => {
      const line = words.map((word) => `'${word}'`).join(' ');
      const ask = `COMP_WORDS=(qtool ${line}); COMP_CWORD=${words.length}; _qtool; printf '%s\\n' "\${COMPREPLY[@]}"; complete -p qtool`;
      const { stdout, stderr, status } = spawnSync('bash', ['--norc', '-c', `${out}\n${ask}`], { encoding: 'utf8' });
      expect([status, stderr]).toEqual([0, '']);
      const lines = stdout.trimEnd().split('\n');
      expect(lines.pop()).toBe('complete -o default -F _qtool qtool');
      return lines.filter((found) => found !== '');
    };
    expect(complete('comp')).toEqual(['compare', 'completion']);
    expect(complete('quantize', '--sch')).toEqual(['--schedule']);
    expect(complete('quantize', 'm.onnx', '--schedule', 'int8-a')).toEqual(['int8-accurate']);
    expect(complete('quantize', 'm.onnx', '--schedule', '=', 'int8-a')).toEqual(['int8-accurate']);
    expect(complete('check', 'w4')).toEqual(['w4-weight-only', 'w4a8']);
    expect(complete('explain', 'AdaR')).toEqual(['AdaRound']);
    expect(complete('eval', 'm.onnx', '--preprocess', 'keras')).toEqual(['keras-tf']);
    // Files are the shell's own.
    expect(complete('quantize', '')).toEqual([]);
    expect(complete('quantize', 'm.onnx', '-o', '')).toEqual([]);
  });

  it.each(['zsh', 'fish'])('names every command and option in %s', async (shell) => {
    const { code, out } = await qtool('completion', shell);
    expect(code).toBe(0);
    for (const word of ['quantize', 'compare', 'schedule', 'no-latency', 'int8-accurate', 'AdaRound'])
      expect(out).toContain(word);
    // Both as one word and as two: each shell has its own way.
    if (shell === 'zsh') expect(out).toContain("compset -P '*='");
    else expect(out).toContain('-l schedule -r');
  });

  it('offers no files where only certain words are taken, and of classes those that fit', async () => {
    const fish = (await qtool('completion', 'fish')).out.split('\n');
    const line = (...parts: string[]) => fish.find((one) => parts.every((part) => one.includes(part))) ?? '';
    expect(line('from quantize', '-l preprocess')).toContain(' -x -a ');
    expect(line('from quantize', '-l data ')).toContain(' -r -a ');
    expect(line('from explain', 'AdaRound')).toContain(' -f -a ');
    const [, classes = ''] = /-a '([^']*)'/.exec(line('from sensitivity', '-l class')) ?? [];
    for (const name of classes.split(' ')) {
      const { err } = await qtool('sensitivity', 'no.onnx', '--data', 'random', '--class', name);
      expect([name, err.includes('takes levels')]).toEqual([name, false]);
    }
    // Each schedule by what it is, as `qtool schedules` says.
    for (const one of [line('from quantize', '-l schedule'), line('from check', ' -a ')]) {
      const titles = [...one.matchAll(/([\w-]+)\\\\t\\'(.*?)\\' ?/g)].map(([, name, title]) => [name, title]);
      expect(titles.length).toBe((await namedSchedules()).length);
      expect(new Set(titles.map(([, title]) => title)).size).toBe(titles.length);
    }
    expect((await qtool('completion', 'zsh')).out).toMatch(/:--preprocess[^)]*\) compadd -- [^;]*; return ;;/);
  });

  it('knows no other shell', async () => {
    const { code, err } = await qtool('completion', 'csh');
    expect(code).toBe(2);
    expect(err).toMatch(/Allowed choices are bash, zsh, fish/);
  });
});
