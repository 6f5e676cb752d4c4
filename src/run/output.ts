import { appendFile, readFile, readdir, realpath, rename, rm, rmdir, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { writeModel } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import { checkFolder, makeFolder } from '../util/folder.ts';
import { QtoolError } from '../util/error.ts';

/** The files of a run directory. */
export const outputFiles = [
  'model.onnx',
  'model.onnx.data',
  'model.partial.onnx',
  'model.partial.onnx.data',
  'mended.yaml',
  'report.json',
  'report.html',
  'schedule.yaml',
  'qtool.log',
  'checkpoint.bin',
] as const;

/** What a run that trains leaves after an epoch, to be gone on from. */
export const checkpointFile = 'checkpoint.bin';

/** The folder in it that keeps statistics for later runs. */
export const statisticsFolder = 'statistics';

/**
 * A run's own folder: the model, the report, the resolved schedule, the log. Until the run is over the best model so far has a name
 * of its own: whatever ends a run, nothing that is no result looks like one.
 */
export interface RunFolder {
  readonly modelPath: string;
  readonly partialPath: string;
  /** Puts a model in place of the best one so far. */
  keep(model: Model): Promise<void>;
  /** Writes the result and takes away the best one so far. */
  finish(model: Model): Promise<void>;
  write(name: (typeof outputFiles)[number], text: string): Promise<void>;
  /** Adds a line to the log; lines stand in the order of the calls. */
  log(line: string): Promise<void>;
  /** Takes away the checkpoint: nothing is left to go on with. */
  forget(): Promise<void>;
  /** Lets other runs take the folder. */
  release(): Promise<void>;
  /** Takes away what this run wrote, and the folder if it was not there before. */
  discard(): Promise<void>;
}

/**
 * Whether a folder may be taken for a run: it is not there, or empty, or `force` is set and what would be replaced is a run's, or there is
 * a checkpoint to resume from.
 * @throws QtoolError('usage') where the folder holds anything and `force` is not set, where a file of the names that a run writes is
 * no run's, or the path is no folder and none can be made there, or it cannot be written into.
 */
export async function checkRunFolder(folder: string, force: boolean, resume = false): Promise<void> {
  const present = await readdir(folder).catch((cause: NodeJS.ErrnoException): string[] => {
    if (cause.code === 'ENOENT' || cause.code === 'ENOTDIR') return [];
    throw new QtoolError('usage', 'the output folder cannot be read', { at: folder, hint: 'name a folder', cause });
  });
  const checkpoint = present.includes(checkpointFile);
  if (resume && !checkpoint) throw nothingToResume(folder);
  if (present.length > 0 && !force && !resume)
    throw new QtoolError('usage', 'the output folder exists and is not empty', {
      at: folder,
      hint: `name another folder, or give --force${checkpoint ? ', or --resume to go on with the run that was cut off there' : ''}`,
    });
  const own = outputFiles.find((name) => present.includes(name));
  if (own !== undefined && !(await isRunFolder(folder)))
    throw new QtoolError('usage', 'this file is of no run of qtool, and is left alone', {
      at: join(folder, own),
      hint: 'name another output folder, or move the file away',
    });
  await checkFolder(folder);
}

const nothingToResume = (folder: string): QtoolError =>
  new QtoolError('usage', 'there is nothing to resume: no run that trains was cut off here after its first epoch', {
    at: folder,
    hint: 'leave out --resume',
  });

/** Whether a run has written here: its report says so, or the log of one that came to no report, or who is at it now. */
async function isRunFolder(folder: string): Promise<boolean> {
  const text = (name: string): Promise<string> => readFile(join(folder, name), 'utf8').catch(() => '');
  return (
    /^\s*\{\s*"format":\s*\d+,\s*"tool":\s*\{\s*"qtool":/.test(await text('report.json')) ||
    /^\d{4}-\d\d-\d\dT[\d:.]+Z \{"kind":/.test(await text('qtool.log')) ||
    /^\d*$/.test((await readFile(join(folder, lockFile), 'utf8').catch(() => 'none')).trim())
  );
}

/**
 * A model that lies in the output folder would be lost where a run's file takes its name, or that of the data beside it.
 * @throws QtoolError('usage') in that case.
 */
export async function checkSourceStays(folder: string, source: string | undefined): Promise<void> {
  if (source === undefined) return;
  const real = (path: string): Promise<string | undefined> => realpath(path).catch(() => undefined);
  const own = await Promise.all(outputFiles.map((name) => real(join(folder, name))));
  const data = ['model.onnx.data', 'model.partial.onnx.data'].map((name) => real(join(dirname(source), name)));
  const kept = [await real(source), ...(await Promise.all(data))];
  if (kept.some((path) => path !== undefined && own.includes(path)))
    throw new QtoolError('usage', 'the model lies in the output folder, where the result would take its place', {
      at: source,
      hint: 'name another output folder',
    });
}

/** Names the process that writes into the folder. */
const lockFile = '.qtool.lock';

/** @throws QtoolError('usage') where another run that still lives has the folder. */
async function lock(folder: string): Promise<void> {
  const path = join(folder, lockFile);
  const mine = await writeFile(path, String(process.pid), { flag: 'wx' }).catch(
    (cause: NodeJS.ErrnoException) => cause,
  );
  if (mine?.code !== 'EEXIST') {
    if (mine) throw mine;
    return;
  }
  const pid = Number(await readFile(path, 'utf8').catch(() => ''));
  if (pid > 0 && isAlive(pid))
    throw new QtoolError('usage', `another run (process ${pid}) is writing into this folder`, { at: folder, hint: 'name another folder, or wait for its end' }); // prettier-ignore
  // Whoever held it ended without a word.
  await writeFile(path, String(process.pid));
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/**
 * Takes a folder for a run. With `force` the files of an earlier run go, with `resume` all but its checkpoint and its log; other files are
 * never touched. @throws as above.
 */
export async function openRunFolder(folder: string, force: boolean, resume = false): Promise<RunFolder> {
  await checkRunFolder(folder, force, resume);
  const clear = async (): Promise<void> => {
    for (const name of outputFiles)
      if (!resume || (name !== checkpointFile && name !== 'qtool.log')) await rm(join(folder, name), { force: true });
  };
  // The topmost folder that had to be made; undefined where all were there.
  const made = await makeFolder(folder);
  await lock(folder);
  await clear();
  const [modelPath, partialPath] = [join(folder, 'model.onnx'), join(folder, 'model.partial.onnx')];
  let logged: Promise<void> = Promise.resolve();
  return {
    modelPath,
    partialPath,
    async keep(model) {
      const bytes = await writeModel(model, partialPath);
      // All in one file: data beside it is of a larger model, and nothing reads it any more.
      if ((await stat(partialPath)).size === bytes) await rm(`${partialPath}.data`, { force: true });
    },
    async finish(model) {
      await writeModel(model, modelPath);
      for (const path of [partialPath, `${partialPath}.data`]) await rm(path, { force: true });
    },
    async write(name, text) {
      const path = join(folder, name);
      await writeFile(`${path}.part`, text);
      await rename(`${path}.part`, path);
    },
    log: (line) => (logged = logged.then(() => appendFile(join(folder, 'qtool.log'), `${line}\n`))),
    forget: () => rm(join(folder, checkpointFile), { force: true }),
    async release() {
      await logged;
      await rm(join(folder, lockFile), { force: true });
    },
    async discard() {
      await logged;
      await clear();
      await rm(join(folder, lockFile), { force: true });
      // rmdir removes empty folders only: what others put there meanwhile stays.
      if (made !== undefined) await rmdir(folder).catch(() => undefined);
    },
  };
}
