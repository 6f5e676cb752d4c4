import { join } from 'node:path';
import { namedSchedules, scheduleFolder, scheduleText } from '../../api/schedule.ts';
import { hanging } from '../../report/format.ts';
import type { Call, CommonOptions } from '../call.ts';
import { exit } from '../errors.ts';

/** What the comment at the head of a shipped schedule says. */
export interface ScheduleFacts {
  readonly name: string;
  readonly path: string;
  readonly title: string;
  readonly purpose: string;
  readonly source: string;
  readonly command: string;
  readonly measured: string;
}

export interface SchedulesReport {
  readonly format: 1;
  readonly schedules: readonly ScheduleFacts[];
}

/** `qtool schedules`: the schedules that come with qtool and what each is for. */
export async function listSchedules(_: CommonOptions, call: Call): Promise<number> {
  const names = (await namedSchedules()).sort();
  const schedules: ScheduleFacts[] = [];
  for (const name of names) {
    const path = join(scheduleFolder, `${name}.yaml`);
    schedules.push({ name, path, ...headOf((await scheduleText(path)).text) });
  }
  call.answer({ format: 1, schedules }, () => {
    const { paint, width } = call;
    const room = Math.max(...names.map((name) => name.length));
    const rows = schedules.map(({ name, title, purpose }) => {
      const text = hanging(
        `  ${name.padEnd(room)}  `,
        `${title} ${purpose.charAt(0).toUpperCase()}${purpose.slice(1)}`,
        width,
      );
      return text.replace(name, paint.bold(name));
    });
    const hint = 'qtool check <name> shows the stages of one, qtool quantize --schedule <name> runs it.';
    return [...rows, '', paint.dim(hanging('', hint, width))].join('\n');
  });
  return exit.ok;
}

/** The sentence before, and the paragraphs `# Purpose …`, `# Source …` behind it, whose further lines are indented. */
export function headOf(text: string): Omit<ScheduleFacts, 'name' | 'path'> {
  const lines = text.split('\n');
  const end = lines.findIndex((line) => !line.startsWith('#'));
  const title: string[] = [];
  const found = new Map<string, string[]>();
  let current = title;
  for (const line of lines.slice(0, end < 0 ? undefined : end).map((one) => one.slice(1).replace(/^ /, ''))) {
    const [, key, rest] = /^([A-Z][a-z]+) {2,}(.*)$/.exec(line) ?? [];
    if (key !== undefined) found.set(key, (current = []));
    current.push((rest ?? line).trim());
  }
  const of = (key: string): string => (found.get(key) ?? []).join(' ').trim();
  const [purpose, source] = [of('Purpose'), of('Source')];
  return { title: title.join(' ').trim(), purpose, source, command: of('Command'), measured: of('Measured') };
}
