import { escapeHtml } from './escape.ts';

export interface Bar {
  readonly label: string;
  /** undefined draws no bar: not measured. */
  readonly value: number | undefined;
  /** What stands at the end of the bar. */
  readonly text: string;
  /** CSS class: which colour. */
  readonly tone: 'good' | 'fair' | 'bad' | 'plain';
}

const rowHeight = 20;
const labelWidth = 300;
const barWidth = 380;
const textWidth = 200;

/**
 * Horizontal bars from zero, one a row, as an SVG of fixed viewBox that scales with the page. Infinite values fill the row.
 * `max` is the value of a full bar; the largest finite value where it is not given.
 */
export function bars(title: string, rows: readonly Bar[], max?: number): string {
  const finite = rows.flatMap((row) => (row.value !== undefined && Number.isFinite(row.value) ? [row.value] : []));
  const full = max ?? Math.max(0, ...finite);
  const height = rows.length * rowHeight + 4;
  const body = rows.map((row, i) => barRow(row, i * rowHeight, full)).join('\n');
  const box = `0 0 ${labelWidth + barWidth + textWidth} ${height}`;
  return `<svg viewBox="${box}" role="img" aria-label="${escapeHtml(title)}">\n${body}\n</svg>`;
}

function barRow(row: Bar, top: number, full: number): string {
  const length = row.value === undefined ? 0 : lengthOf(row.value, full);
  const middle = top + rowHeight * 0.72;
  const bar = `<rect class="${row.tone}" x="${labelWidth}" y="${top + 3}" width="${length.toFixed(1)}" height="${rowHeight - 6}" rx="2"/>`;
  const end = (labelWidth + length + 6).toFixed(1);
  return (
    `<g><title>${escapeHtml(`${row.label}: ${row.text}`)}</title>` +
    `<text class="label" x="${labelWidth - 8}" y="${middle}">${escapeHtml(cut(row.label))}</text>${bar}` +
    `<text x="${end}" y="${middle}">${escapeHtml(row.text)}</text></g>`
  );
}

function lengthOf(value: number, full: number): number {
  if (value === Infinity) return barWidth;
  if (!(value > 0) || full <= 0) return 0;
  return Math.min(1, value / full) * barWidth;
}

/** The end of a path tells a layer from its neighbours; the tooltip has the whole name. */
function cut(label: string): string {
  const most = 44;
  return label.length <= most ? label : `…${label.slice(label.length - most + 1)}`;
}
