import { existsSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import * as z from 'zod';
import type { Pass, Section } from '../passes/pass.ts';
import { isRunning, sections } from '../schedule/language.ts';
import { QtoolError } from '../util/error.ts';
import { checkNamed, importModule, isModule, type Modules } from '../util/module.ts';
import { readYaml } from '../util/yaml.ts';
import type { ScheduleText } from './schedule.ts';

/**
 * The passes that a schedule names by the paths of their modules, which start from the schedule's folder. Where modules are only named, a
 * stand-in that takes any options.
 * @throws QtoolError('schedule') where modules are refused, or one is no pass.
 */
export async function modulePasses({ file, text }: ScheduleText, modules: Modules): Promise<Pass[]> {
  const doc = readYaml(text, file, 'schedule');
  const found: Pass[] = [];
  for (const section of sections) {
    if (!isRunning(section)) continue;
    for (const [name, instance] of entries(field(doc.value, section))) {
      const path = field(instance, 'class');
      if (typeof path !== 'string' || !isModule(path)) continue;
      if (found.some((pass) => pass.section === section && pass.classes.includes(path))) continue;
      const at = doc.at([section, name, 'class']);
      checkNamed(modules, path, 'schedule', at);
      const full = resolve(dirname(file), path);
      if (!existsSync(full))
        throw new QtoolError('schedule', `the module "${path}" does not exist`, { at, hint: `It would be ${full}.` });
      found.push(modules === 'run' ? await loaded(full, path, section, at) : standIn(path, section));
    }
  }
  return found;
}

const field = (value: unknown, key: string): unknown =>
  typeof value === 'object' && value !== null ? (value as Record<string, unknown>)[key] : undefined;
const entries = (value: unknown): [string, unknown][] =>
  typeof value === 'object' && value !== null ? Object.entries(value) : [];

const facts = (path: string, section: Section): Omit<Pass, 'apply' | 'options'> => ({
  ...{ name: path, section, classes: [path] },
  ...{ summary: `the module ${path}`, source: path },
});

async function loaded(full: string, path: string, section: Section, at: string): Promise<Pass> {
  const exported = (await importModule(full, 'run', 'schedule', at))['default'];
  const made: unknown = typeof exported === 'function' ? await (exported as () => unknown)() : exported;
  for (const [part, fits] of [
    ['apply', typeof field(made, 'apply') === 'function'],
    ['options', typeof field(field(made, 'options'), 'safeParse') === 'function'],
  ] as const)
    if (!fits)
      throw new QtoolError('schedule', `the module's default export has no "${part}" of a pass`, {
        at: full,
        hint: 'It must be a pass { options, apply }, or a function that returns one (docs/library.md).',
      });
  const pass = made as Pass;
  const apply: Pass['apply'] = async (...given) => {
    const result: unknown = await pass.apply(...given);
    const lists = ['changed', 'skipped'].every((key) => Array.isArray(field(result, key)));
    if (lists && field(field(result, 'model'), 'graph') !== undefined)
      return result as Awaited<ReturnType<Pass['apply']>>;
    throw new QtoolError('schedule', 'the module\'s apply gave no { model, changed, skipped }', { at: full, hint: 'docs/library.md has a pass to begin with' }); // prettier-ignore
  };
  // Whatever it calls itself, the schedule knows it by its path, in the section where it stands.
  return { ...facts(path, section), ...pass, apply, section, classes: [path] };
}

/** For a plan that nothing is run for. */
function standIn(path: string, section: Section): Pass {
  return {
    ...facts(path, section),
    options: z.looseObject({}),
    apply: () => Promise.reject(new Error(`${path} is only named here`)),
  };
}
