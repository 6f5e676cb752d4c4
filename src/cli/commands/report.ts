import { readFile, rename, stat, writeFile } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { htmlReport } from '../../report/html.ts';
import { htmlComparison, type NamedRun } from '../../report/html_compare.ts';
import { generator } from '../../report/page/page.ts';
import { bytes } from '../../report/format.ts';
import { parseReport } from '../../run/read_report.ts';
import { QtoolError } from '../../util/error.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';

interface ReportOptions {
  readonly output?: string;
  readonly force?: boolean;
}

/** The page that `qtool report` wrote, and of which runs. */
export interface PageReport {
  readonly format: 1;
  readonly output: string;
  readonly bytes: number;
  readonly runs: readonly string[];
}

/** `qtool report`: the page of a run again from its report.json, or several runs on one page. */
export async function reportCommand(folders: readonly string[], options: ReportOptions, call: Call): Promise<number> {
  const runs: NamedRun[] = [];
  for (const folder of folders) runs.push(await readRun(folder));
  const [first] = runs;
  if (first === undefined)
    throw new QtoolError('usage', 'name the folder of a run', { hint: 'qtool report runs/demo' });
  const single = runs.length === 1;
  const folder = folders[0] ?? '.';
  const output = options.output ?? (single ? join(await folderOf(folder), 'report.html') : 'compare.html');
  await mayWrite(output, options.force === true);
  const html = single ? htmlReport(first.report) : htmlComparison(withOwnNames(runs, folders));
  await writeFile(`${output}.part`, html).catch((cause: unknown) => {
    throw new QtoolError('usage', 'the page cannot be written', { at: output, hint: 'does its folder exist?', cause });
  });
  await rename(`${output}.part`, output);
  const size = Buffer.byteLength(html);
  call.answer({ format: 1, output, bytes: size, runs: folders }, () => `${output}  ${bytes(size)}`);
  return exit.ok;
}

/** A folder, or the report.json in it. */
async function folderOf(path: string): Promise<string> {
  const file = await stat(path).catch(() => undefined);
  return file?.isFile() === true ? join(path, '..') : path;
}

async function readRun(path: string): Promise<NamedRun> {
  const folder = await folderOf(path);
  const file = folder === path ? join(path, 'report.json') : path;
  const text = await readFile(file, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    const why = cause.code === 'ENOENT' ? 'there is no such file' : 'it cannot be read';
    throw new QtoolError('usage', why, { at: file, hint: 'name the folder that qtool quantize wrote to', cause });
  });
  return { name: basename(resolve(folder)), report: parseReport(text, file) };
}

/** Folders of one name are called by their paths. */
function withOwnNames(runs: readonly NamedRun[], folders: readonly string[]): NamedRun[] {
  const taken = (name: string): boolean => runs.filter((run) => run.name === name).length > 1;
  return runs.map((run, i) => (taken(run.name) ? { ...run, name: folders[i] ?? run.name } : run));
}

/** A page that qtool wrote is replaced; anything else is someone's own. */
async function mayWrite(output: string, force: boolean): Promise<void> {
  const facts = await stat(output).catch(() => undefined);
  if (facts === undefined) return;
  if (facts.isDirectory())
    throw new QtoolError('usage', 'this is a folder', { at: output, hint: 'name a file: -o compare.html' });
  if (force && /\.html?$/i.test(output)) return;
  const text = await readFile(output, 'utf8').catch(() => '');
  const own = text.includes(generator) || (/report\.html$/.test(output) && text.includes('<title>qtool: '));
  if (!own)
    throw new QtoolError('usage', 'this file is no page of qtool, and is left alone', {
      at: output,
      hint: force ? '--force replaces .html files only: name another' : 'name another, or give --force',
    });
}
