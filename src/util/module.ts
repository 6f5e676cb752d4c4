import { pathToFileURL } from 'node:url';
import { QtoolError, type ErrorCode } from './error.ts';

/**
 * What becomes of modules that a schedule or a data config names, which are code with all the rights of who runs qtool: they are run, they may
 * be named but are not run (a dry run), or, undefined, they are refused.
 */
export type Modules = 'run' | 'name' | undefined;

/** Whether a name is the path of a module. */
export const isModule = (name: string): boolean => /\.[cm]?js$/.test(name);

/** @throws QtoolError where modules may not even be named. */
export function checkNamed(modules: Modules, name: string, code: ErrorCode, at: string | undefined): void {
  if (modules === undefined)
    throw new QtoolError(code, `"${name}" is a module: code, which runs with all your rights`, {
      at,
      hint: 'Give --allow-modules (in a program allowModules: true) if you trust it.',
    });
}

/**
 * The exports of a user's module.
 * @param path absolute
 * @param at what names it
 * @throws QtoolError `code` where it may not run, or does not load.
 */
export async function importModule(
  path: string,
  modules: Modules,
  code: ErrorCode,
  at: string | undefined,
): Promise<Readonly<Record<string, unknown>>> {
  checkNamed(modules, path, code, at);
  if (modules === 'name')
    throw new QtoolError(code, `"${path}" is a module, and a dry run runs none`, {
      at,
      hint: 'qtool check looks at the schedule without any data.',
    });
  try {
    return (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  } catch (cause) {
    if (cause instanceof QtoolError) throw cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw new QtoolError(code, `the module does not load: ${message.split('\n')[0]}`, { at: path, cause });
  }
}
