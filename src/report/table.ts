import Table from 'cli-table3';
import type { Paint } from './paint.ts';

export interface Column {
  readonly title: string;
  readonly align?: 'left' | 'right';
}

export const right = (title: string): Column => ({ title, align: 'right' });

const none = { top: '', 'top-mid': '', 'top-left': '', 'top-right': '' };
const bottom = { bottom: '', 'bottom-mid': '', 'bottom-left': '', 'bottom-right': '' };
const sides = { left: '', 'left-mid': '', right: '', 'right-mid': '', mid: '', 'mid-mid': '', middle: '  ' };

/**
 * A table without frames: a head, a rule, rows. Cells may hold several lines and colours. No line ends in spaces. What is wider than
 * `width` becomes several tables, each with the first column, so that no row breaks.
 */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  paint: Paint,
  width = Infinity,
): string {
  return groupsWithin(columns, rows, width)
    .map((group) =>
      whole(
        group.map((i) => columns[i]!),
        rows.map((row) => group.map((i) => row[i] ?? '')),
        paint,
      ),
    ) // prettier-ignore
    .join('\n\n');
}

/** Columns of each table, by place. */
function groupsWithin(columns: readonly Column[], rows: readonly (readonly string[])[], width: number): number[][] {
  const widths = columns.map(({ title }, i) =>
    Math.max(title.length, ...rows.flatMap((row) => (row[i] ?? '').split('\n').map(visibleWidth))),
  );
  const groups: number[][] = [[]];
  let used = 0;
  for (const [i, own] of widths.entries()) {
    if (used + own > width && (groups.at(-1)?.length ?? 0) > 1) {
      groups.push([0]);
      used = widths[0]! + gap;
    }
    groups.at(-1)?.push(i);
    used += own + gap;
  }
  return groups;
}

function whole(columns: readonly Column[], rows: readonly (readonly string[])[], paint: Paint): string {
  const out = new Table({
    chars: { ...none, ...bottom, ...sides },
    style: { 'padding-left': 0, 'padding-right': 0, head: [], border: [] },
    colAligns: columns.map((column) => column.align ?? 'left'),
  });
  out.push(
    columns.map((column) => paint.bold(column.title)),
    ...rows.map((row) => [...row]),
  );
  const lines = out.toString().split('\n');
  const rule = paint.dim('─'.repeat(Math.max(...lines.map((line) => visibleWidth(line)))));
  return [lines[0] ?? '', rule, ...lines.slice(1)].map((line) => line.trimEnd()).join('\n');
}

/** The gap between two columns, for those who plan widths. */
export const gap = 2;

/** The width of columns with the gaps beside them, column `but` left out: what is left of the line is its room. */
export function widthOf(titles: readonly string[], rows: readonly (readonly string[])[], but?: number): number {
  const widths = titles.map((title, i) => Math.max(title.length, ...rows.map((row) => visibleWidth(row[i] ?? ''))));
  return widths.reduce((sum, one, i) => (i === but ? sum : sum + one + gap), 0);
}

const colours = /\u001b\[[0-9;]*m/g;

export function visibleWidth(text: string): number {
  return text.replace(colours, '').length;
}
