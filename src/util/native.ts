import { QtoolError } from './error.ts';

/** A package that brings a binary for each system, which may not be there or not load. */
export interface Native {
  readonly name: string;
  /** `runs the models`. */
  readonly purpose: string;
  /** The command that installs it. */
  readonly install: string;
  /** What it needs of a system. */
  readonly needs: string;
}

/**
 * Loads such a package.
 * @param load an import of it, written out, so that bundlers see it
 * @throws QtoolError `runtime`: what is missing, and the cure.
 */
export async function loadNative<T>(native: Native, load: () => Promise<T>): Promise<T> {
  try {
    return await load();
  } catch (cause) {
    const { message, hint } = explainNative(native, cause instanceof Error ? cause.message : String(cause));
    throw new QtoolError('runtime', message, { hint, cause });
  }
}

/** What the loaders of Node.js and of the system say when a binary is not to be had, and the cure. */
function explainNative(
  { name, purpose, install, needs }: Native,
  text: string,
): { readonly message: string; readonly hint: string } {
  const system = `${process.platform} ${process.arch}`;
  const [line = ''] = text.split('\n');
  if (/^Cannot find (package|module) /.test(line) && line.includes(`'${name}'`))
    return {
      message: `${name}, which ${purpose}, is not installed`,
      hint: `${install} (with -g where qtool was installed with it)`,
    };
  if (/^Cannot find module/.test(line))
    return {
      message: `${name}, which ${purpose}, has no binary for ${system} here: ${line}`,
      hint: `${needs}; if this system is one, delete node_modules/${name} and ${install}`,
    };
  const message = `${name}, which ${purpose}, does not load on ${system}: ${line}`;
  const library = /(?:Error loading shared library |^)(lib[^\s:]+)(?:: cannot open shared object file|: No such file)/.exec(line)?.[1]; // prettier-ignore
  if (/GLIBC|ld-linux|symbol not found/.test(text)) return { message, hint: needs };
  if (library !== undefined && !library.startsWith('libonnxruntime'))
    return { message, hint: `install the package of this system that has ${library}` };
  return {
    message,
    hint: `its files are damaged or of another system: delete node_modules/${name} and ${install}`,
  };
}
