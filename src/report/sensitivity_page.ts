import type { SensitivityMap } from '../passes/pass.ts';
import type { SensitivityReport } from '../run/sensitivity.ts';
import { escapeHtml as e } from './escape.ts';
import { bytes, datasetText } from './format.ts';
import { sensitivityChart } from './page/charts.ts';
import { page } from './page/page.ts';
import { alarms, charts, list, section } from './page/parts.ts';

/** The heat map of a sensitivity as one HTML file that needs nothing else, as a run's report.html is. */
export function sensitivityPage(
  { model, data, notes, warnings }: Pick<SensitivityReport, 'model' | 'data' | 'notes' | 'warnings'>,
  map: SensitivityMap,
): string {
  const name = model.path.split(/[\\/]/).at(-1) || 'model';
  const told = notes.length === 0 ? '' : section('notes', 'Notes', list(notes));
  return page(
    `${name}: qtool sensitivity`,
    `<header>
<h1>${e(name)}</h1>
<p class="soft">${e(`${bytes(model.bytes)}, measured on ${datasetText(data)}`)}</p>
${alarms(warnings)}</header>
<main>
${section('sensitivity', 'Sensitivity', charts(sensitivityChart(map)))}
${told}
</main>`,
  );
}
