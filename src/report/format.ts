import type { DatasetInfo } from '../data/types.ts';
import type { MetricResult } from '../metrics/metric.ts';
import { parsePattern } from '../util/pattern.ts';
import type { Paint } from './paint.ts';

/** Numbers and texts as people read them; the same words in the terminal and in the HTML. */

const units = ['B', 'kB', 'MB', 'GB'] as const;

/** `845 B`, `44.9 kB`, `1.73 MB`: three significant digits, powers of 1000 as disks are sold. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  // 999.5 would print as `1000`: the next unit begins where three digits end.
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return unit === 0 ? `${count} B` : `${value.toPrecision(3)} ${units[unit]}`;
}

/** `431,080`. */
export function grouped(count: number): string {
  // Loading the locales for toLocaleString takes 30 ms.
  return Math.round(count)
    .toString()
    .replace(/\B(?=(\d{3})+$)/g, ',');
}

/** A share of 1 as `26.0 %`. */
export function percent(share: number, digits = 1): string {
  return `${(share * 100).toFixed(digits)} %`;
}

/**
 * `91.56` for percentages, `38.4` for dB, four significant digits otherwise; `∞` for what no error was found in. What would come
 * out as zero and is not gets two digits.
 */
export function number(value: number, unit: MetricResult['unit']): string {
  if (value === Infinity) return '∞';
  if (value === -Infinity) return '-∞';
  if (Number.isNaN(value)) return 'n/a';
  if (unit === '') return Number(value.toPrecision(4)).toString();
  const text = value.toFixed(unit === '%' ? 2 : 1);
  return value !== 0 && Number(text) === 0 ? Number(value.toPrecision(2)).toString() : text;
}

/** `91.56 ±0.77`, or the value alone where no interval is known. */
export function withInterval(value: number, interval: number | undefined, unit: MetricResult['unit']): string {
  const text = number(value, unit);
  return interval === undefined || !Number.isFinite(interval) ? text : `${text} ±${number(interval, unit)}`;
}

/** A metric's drop with its interval; nothing where it is infinite, as SQNR's from a model that differs in nothing. */
export function dropText(metric: MetricResult | undefined): string {
  return metric && Number.isFinite(metric.drop) ? withInterval(metric.drop, metric.dropInterval, metric.unit) : '';
}

/** What a difference of a metric is counted in. */
export function pointsOf(unit: MetricResult['unit']): string {
  return unit === '%' ? ' points' : unit === 'dB' ? ' dB' : '';
}

/** `top1 %`, `sqnr dB`, `cosine`. */
export function titleOf(metric: Pick<MetricResult, 'name' | 'unit'>): string {
  return metric.unit === '' ? metric.name : `${metric.name} ${metric.unit}`;
}

/** `0.4 s`, `12 s`, `3 min 20 s`, `2 h 5 min`. */
export function duration(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  const minutes = Math.round(seconds / 60);
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export function plural(count: number, one: string, many = `${one}s`): string {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}

/** Whole numbers in order, those in a row as one: `0–9, 12`; with a constant step `0–8 by 2`. */
export function runs(numbers: readonly number[]): string {
  const step = (numbers[1] ?? 0) - (numbers[0] ?? 0);
  if (numbers.length > 2 && step > 1 && numbers.every((one, i) => one === numbers[0]! + i * step))
    return `${numbers[0]}–${numbers.at(-1)} by ${step}`;
  const parts: number[][] = [];
  for (const one of numbers) {
    const last = parts.at(-1);
    if (last?.at(-1) === one - 1) last.push(one);
    else parts.push([one]);
  }
  return parts.map((part) => (part.length === 1 ? `${part[0]}` : `${part[0]}–${part.at(-1)}`)).join(', ');
}

/** Breaks text at spaces into lines of at most `width` characters; a longer word is cut. */
export function wrap(text: string, width: number): string[] {
  const room = Math.max(1, width);
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(/\s+/).filter((part) => part !== '')) {
    let rest = word;
    if (line !== '' && line.length + 1 + rest.length <= room) {
      line += ` ${rest}`;
      continue;
    }
    if (line !== '') lines.push(line);
    for (; rest.length > room; rest = rest.slice(room)) lines.push(rest.slice(0, room));
    line = rest;
  }
  if (line !== '' || lines.length === 0) lines.push(line);
  return lines;
}

/** Wraps with a first prefix and an indent of the same width on the following lines. */
export function hanging(prefix: string, text: string, width: number): string {
  const indent = ' '.repeat(prefix.length);
  return wrap(text, width - prefix.length)
    .map((line, i) => (i === 0 ? prefix : indent) + line)
    .join('\n');
}

/** A title with texts below it; nothing where there are none. */
export function bullets(title: string, texts: readonly string[], paint: Paint, width: number): string {
  if (texts.length === 0) return '';
  return [paint.bold(title), ...texts.map((text) => hanging('  - ', text, width))].join('\n');
}

/** `data/digits: 512 samples, no labels`. */
export function datasetText({ kind, source, samples, labelled }: DatasetInfo): string {
  return `${kind === 'random' ? 'random input' : source}: ${plural(samples, 'sample')}${labelled ? '' : ', no labels'}`;
}

/** Line breaks as `\\n`: a name that holds some stays in its line. */
export function oneLine(name: string): string {
  return name.replace(/\n/g, '\\n').replace(/\r/g, '\\r').replace(/\t/g, '\\t');
}

/** Cuts the middle out of a long name: both ends of a node's path tell it from its neighbours. */
export function shorten(name: string, width: number): string {
  const text = oneLine(name);
  if (text.length <= width) return text;
  const tail = Math.ceil((width - 1) / 2);
  return `${text.slice(0, width - 1 - tail)}…${text.slice(text.length - tail)}`;
}

/**
 * Names that fit a column and never read alike: of a path the first parts go, then the last one too, which says the operator. What is cut stands as
 * the glob of a selector that means this name and no other of `among`, to be pasted; where there is none, the name is wrapped instead.
 */
export function distinct(names: readonly string[], width: number, among: readonly string[] = names): string[] {
  const all = [...new Set(among)];
  return names.map((name) => (oneLine(name).length <= width ? oneLine(name) : cutWithin(name, width, all)));
}

/** The same for what is no name of a layer, as paths of files: with `…` for what is cut, which is not the end where that tells them apart. */
export const distinctPaths = (paths: readonly string[], width: number): string[] =>
  distinct(paths, width).map((cut, i) => {
    const path = paths[i] ?? '';
    if (cut === path) return cut;
    const parts = path.split('/');
    const ends = parts.slice(1).map((_, k) => parts.slice(k + 1).join('/'));
    const alone = (end: string): boolean => paths.every((other) => other === path || !other.endsWith(`/${end}`));
    const end = ends.find((one) => one !== '' && one.length + 2 <= width && alone(one));
    return end === undefined ? cut.replaceAll('*', '…') : `…/${end}`;
  });

/** As a glob reads it: characters that mean something there as they are, line breaks as any character. */
const globOf = (text: string): string => text.replace(/[*?[{\\]/g, '\\$&').replace(/[\n\r\t]/g, '?');

function cutWithin(name: string, width: number, all: readonly string[]): string {
  // Only a `?` means more than what it stands for: then the glob itself is asked, which takes longer.
  const odd = /[\n\r\t]/.test(name);
  const only = (glob: string, test: (other: string) => boolean): boolean => {
    const means = odd ? parsePattern(glob).matches : test;
    return all.every((other) => other === name || !means(other));
  };
  const fits = (glob: string): boolean => glob.length <= width;
  const parts = name.split('/');
  for (let from = 1; from < parts.length - 1; from++) {
    const [rest, middle] = [parts.slice(from).join('/'), parts.slice(from, -1).join('/')];
    const [end, within] = [`*${globOf(rest)}`, `*${globOf(middle)}*`];
    if (fits(end) && only(end, (other) => other.endsWith(rest))) return end;
    if (middle !== '' && fits(within) && only(within, (other) => other.includes(middle))) return within;
  }
  // The more of its end the better: that is where names differ.
  for (let tail = Math.ceil((width - 1) / 2); tail < width; tail++) {
    const [start, end] = [name.slice(0, width - 1 - tail), name.slice(name.length - tail)];
    const glob = `${globOf(start)}*${globOf(end)}`;
    const same = (other: string): boolean => other.length >= width - 1 && other.startsWith(start) && other.endsWith(end); // prettier-ignore
    if (fits(glob) && only(glob, same)) return glob;
  }
  return wrap(oneLine(name), width).join('\n');
}
