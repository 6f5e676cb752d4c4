import { escapeHtml } from './escape.ts';

/** Building blocks of the HTML report. Every text that comes in is escaped here; what is called `html` is not. */

export function section(title: string, html: string): string {
  return html === '' ? '' : `<section>\n<h2>${escapeHtml(title)}</h2>\n${html}\n</section>`;
}

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

/** A table; cells that read as numbers stand to the right. */
export function htmlTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const titles = head.map((title) => `<th>${escapeHtml(title)}</th>`).join('');
  const body = rows.map((row) => `<tr>${row.map(cell).join('')}</tr>`).join('\n');
  return `<div class="wide"><table>\n<thead><tr>${titles}</tr></thead>\n<tbody>\n${body}\n</tbody></table></div>\n`;
}

function cell(text: string): string {
  const numeric = /^[-∞]?[\d,.]*(?:\d|∞)(?:$|\s?(?:%|×|±))/.test(text);
  return `<td${numeric ? ' class="n"' : ''}>${escapeHtml(text)}</td>`;
}
