import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { simulate, type SimulateOptions } from '../../api/simulate.ts';
import { simulateCsv, simulatePage, simulateText } from '../../report/simulate.ts';
import { checkRunFolder } from '../../run/output.ts';
import { makeFolder } from '../../util/folder.ts';
import { jsonText } from '../../util/json.ts';
import type { Call } from '../call.ts';
import { exit } from '../errors.ts';
import { watched } from '../watched.ts';

interface SimulateCommandOptions extends Omit<SimulateOptions, 'model' | 'layers'> {
  readonly layers: string;
  readonly output?: string;
  readonly force?: boolean;
}

/** `qtool simulate`: a model with weights and activations in other number formats, measured. */
export async function simulateCommand(model: string, options: SimulateCommandOptions, call: Call): Promise<number> {
  const { layers, output, force, ...rest } = options;
  if (output !== undefined) await checkRunFolder(output, force === true);
  const asked = { ...rest, model, layers: layers.split(',').map((name) => name.trim()) };
  const report = await watched(call, (watch) => simulate({ ...asked, ...watch }));
  if (output !== undefined) {
    await makeFolder(output);
    const files = { json: jsonText(report), csv: simulateCsv(report), html: simulatePage(report) };
    for (const [kind, content] of Object.entries(files)) await writeFile(join(output, `simulate.${kind}`), content);
  }
  call.answer(report, () => simulateText(report, call.paint, call.width));
  return exit.ok;
}
