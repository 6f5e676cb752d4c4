import { escapeHtml } from '../escape.ts';

/** Building blocks of the page. Every text that comes in is escaped here; what is called `html` is not. */

export function section(id: string, title: string, html: string): string {
  return html === '' ? '' : `<section id="${id}">\n<h2>${escapeHtml(title)}</h2>\n${html}\n</section>`;
}

/** A name that breaks between its parts, where it must. */
export const named = (name: string): string => escapeHtml(name).replace(/[/._-](?=[^/._-])/g, '$&<wbr>');

export function disclosure(title: string, html: string): string {
  return `<details><summary>${escapeHtml(title)}</summary>\n${html}\n</details>`;
}

export function definitions(pairs: readonly (readonly [string, string])[]): string {
  const rows = pairs.map(([term, text]) => `<dt>${escapeHtml(term)}</dt><dd>${escapeHtml(text)}</dd>`);
  return `<dl>\n${rows.join('\n')}\n</dl>`;
}

export function list(texts: readonly string[]): string {
  return texts.length === 0 ? '' : `<ul>\n${texts.map((text) => `<li>${escapeHtml(text)}</li>`).join('\n')}\n</ul>`;
}

/** What must be known first, a line each. */
export const alarms = (texts: readonly string[]): string =>
  texts.map((text) => `<p class="alarm"><strong>Mind:</strong> ${escapeHtml(text)}</p>\n`).join('');

/** Text to be copied as it stands. */
export function block(text: string): string {
  return `<pre class="copy" tabindex="0">${escapeHtml(text)}</pre>`;
}

/** A chart with its title, and what its marks mean: each entry's `html` is an open list item. */
export function figure(
  title: string,
  svg: string,
  legend: readonly { readonly html: string; readonly name: string }[] = [],
): string {
  const keys = legend.map(({ html, name }) => `${html} ${escapeHtml(name)}</li>`).join('');
  const below = keys === '' ? '' : `\n<ul class="keys">${keys}</ul>`;
  return `<figure><figcaption>${escapeHtml(title)}</figcaption>\n${svg}${below}\n</figure>`;
}

export function charts(...all: readonly string[]): string {
  const drawn = all.filter((one) => one !== '');
  return drawn.length === 0 ? '' : `<div class="charts">\n${drawn.join('\n')}\n</div>`;
}

/** A column of a table: `number` stands to the right and sorts by value; the higher `rank`, the sooner a narrow page leaves it out. */
export interface Column {
  readonly title: string;
  readonly number?: boolean;
  readonly rank?: 0 | 1 | 2;
}

/** What a cell shows, and what it is sorted by where that is something else. */
export interface Cell {
  readonly html: string;
  readonly value?: number | undefined;
}

export const cellOf = (text: string, value?: number): Cell => ({ html: escapeHtml(text), value });

export function headCell({ title, number, rank }: Column, sortable: boolean): string {
  const kinds = kindsOf(number, rank);
  if (!sortable) return `<th scope="col"${kinds}>${escapeHtml(title)}</th>`;
  return `<th scope="col"${kinds} aria-sort="none"><button type="button" class="sort">${escapeHtml(title)}</button></th>`;
}

export function bodyCell({ html, value }: Cell, { title, number, rank }: Column): string {
  const sorted = value === undefined ? '' : ` data-v="${escapeHtml(String(value))}"`;
  return `<td${kindsOf(number, rank)} data-t="${escapeHtml(title)}"${sorted}>${html}</td>`;
}

function kindsOf(number: boolean | undefined, rank: number | undefined): string {
  const kinds = [...(number === true ? ['n'] : []), ...(rank === undefined || rank === 0 ? [] : [`rank${rank}`])];
  return kinds.length === 0 ? '' : ` class="${kinds.join(' ')}"`;
}

/** A table whose rows become cards where the page is narrow. `sortable` gives each row a body of its own, which the script moves. */
export function htmlTable(
  columns: readonly Column[],
  rows: readonly (readonly Cell[])[],
  { sortable = false }: { readonly sortable?: boolean } = {},
): string {
  const head = columns.map((column) => headCell(column, sortable)).join('');
  const body = rows.map(
    (row) => `<tr>${row.map((cell, i) => bodyCell(cell, columns[i] ?? { title: '' })).join('')}</tr>`,
  );
  const bodies = sortable
    ? body.map((row) => `<tbody>${row}</tbody>`).join('\n')
    : `<tbody>\n${body.join('\n')}\n</tbody>`;
  return `<table class="cards${columns.length > 7 ? ' many' : ''}${sortable ? ' sortable' : ''}">\n<thead><tr>${head}</tr></thead>\n${bodies}</table>\n`;
}

/** A table of plain texts. */
export function textTable(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  return htmlTable(
    titles.map((title) => ({ title })),
    rows.map((row) => row.map((text) => cellOf(text))),
  );
}
