import { escapeHtml } from '../escape.ts';
import type { Scale } from './scale.ts';

/** Pieces of charts as SVG text. Colours are classes of the page's style; every text that comes in is escaped here. */

/** All charts are this wide in their own units: on a phone they shrink by a quarter, and letters stay readable. */
export const chartWidth = 460;

/** The plot within a chart: room for labels at its left and below it. */
export interface Plot {
  readonly left: number;
  readonly right: number;
  readonly top: number;
  readonly bottom: number;
}

export const plotOf = (height: number): Plot => ({ left: 54, right: chartWidth - 16, top: 12, bottom: height - 34 });

export type Shape = 'circle' | 'square' | 'triangle' | 'diamond' | 'cross';

export const shapes: readonly Shape[] = ['circle', 'square', 'triangle', 'diamond', 'cross'];

/** Pixels with one digit, and no trailing zero. */
export const px = (value: number): string => String(Math.round(value * 10) / 10);

/** A picture that a screen reader calls by its title. */
export function picture(title: string, width: number, height: number, body: string, kind = ''): string {
  const named = kind === '' ? '' : ` class="${kind}"`;
  return `<svg${named} viewBox="0 0 ${width} ${px(height)}" role="img" aria-label="${escapeHtml(title)}">\n${body}\n</svg>`;
}

/** What a mark of a chart means, for the list below it. `label` is the name for a screen reader, where it is another. */
export const key = (name: string, drawn: string, label = name): { readonly html: string; readonly name: string } => ({
  html: `<li>${picture(label, 14, 14, drawn, 'key')}`,
  name,
});

export function text(x: number, y: number, content: string, kind = ''): string {
  return `<text${kind === '' ? '' : ` class="${kind}"`} x="${px(x)}" y="${px(y)}">${escapeHtml(content)}</text>`;
}

export function rect(x: number, y: number, width: number, height: number, kind: string): string {
  return `<rect class="${kind}" x="${px(x)}" y="${px(y)}" width="${px(Math.max(0, width))}" height="${px(Math.max(0, height))}"/>`;
}

export function line(x1: number, y1: number, x2: number, y2: number, kind: string): string {
  return `<path class="${kind}" d="M${px(x1)} ${px(y1)}L${px(x2)} ${px(y2)}"/>`;
}

/** Marks with what a pointer that rests on them shows; with a target a click leads there. */
export function marked(title: string, body: string, target?: string): string {
  const group = `<g><title>${escapeHtml(title)}</title>${body}</g>`;
  // The table of layers is the way there by keyboard: hundreds of stops in a picture would be in the way.
  return target === undefined ? group : `<a href="#${escapeHtml(target)}" tabindex="-1">${group}</a>`;
}

/** A mark of one of five shapes, which tell series apart where colours do not. */
export function mark(shape: Shape, x: number, y: number, size: number, kind: string): string {
  const at = (dx: number, dy: number): string => `${px(x + dx * size)} ${px(y + dy * size)}`;
  const paths: Record<Exclude<Shape, 'circle'>, string> = {
    square: `M${at(-0.9, -0.9)}L${at(0.9, -0.9)}L${at(0.9, 0.9)}L${at(-0.9, 0.9)}Z`,
    triangle: `M${at(0, -1.1)}L${at(1.1, 0.9)}L${at(-1.1, 0.9)}Z`,
    diamond: `M${at(0, -1.25)}L${at(1.25, 0)}L${at(0, 1.25)}L${at(-1.25, 0)}Z`,
    cross: `M${at(-0.9, -0.9)}L${at(0.9, 0.9)}M${at(-0.9, 0.9)}L${at(0.9, -0.9)}`,
  };
  if (shape === 'circle') return `<circle class="${kind}" cx="${px(x)}" cy="${px(y)}" r="${px(size)}"/>`;
  return `<path class="${kind}${shape === 'cross' ? ' stroke' : ''}" d="${paths[shape]}"/>`;
}

/** A vertical interval with caps. */
export function whisker(x: number, from: number, to: number): string {
  return `<path class="whisker" d="M${px(x - 3)} ${px(from)}h6M${px(x)} ${px(from)}V${px(to)}M${px(x - 3)} ${px(to)}h6"/>`;
}

/** Lines across the plot with their labels at the left. */
export function axisLeft(scale: Scale, { left, right }: Plot, label: (value: number) => string): string {
  return scale.ticks
    .map((tick) => {
      const y = scale.at(tick);
      return line(left, y, right, y, 'grid') + text(left - 6, y + 4, label(tick), 'end');
    })
    .join('');
}

/** Pixels that a letter takes, about. */
export const letter = 6.6;

/** Labels below the plot with a short stroke each; those at the ends stay within the picture, and none touches the one before. */
export function axisBelow(scale: Scale, { right, bottom }: Plot, label: (value: number) => string): string {
  let free = -Infinity;
  return scale.ticks
    .map((tick) => {
      const [x, name] = [scale.at(tick), label(tick)];
      const wide = name.length * letter;
      const end = x > right - 12;
      const begin = end ? x - wide : x - wide / 2;
      const stroke = line(x, bottom, x, bottom + 4, 'grid');
      if (begin < free) return stroke;
      free = begin + wide + letter;
      return stroke + text(x, bottom + 17, name, end ? 'end' : 'mid');
    })
    .join('');
}

/** The end of a path tells a layer from its neighbours; the tooltip has the whole name. */
export function cutLabel(label: string, most: number): string {
  return label.length <= most ? label : `…${label.slice(label.length - most + 1)}`;
}
