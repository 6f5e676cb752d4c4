import * as z from 'zod';
import type { Feeds, Tensor } from '../data/types.ts';
import { QtoolError } from '../util/error.ts';
import { isFloat, numbersOf, outputNamed } from './select.ts';

const share = z.number().min(0).max(1);

export const boxOptions = z.strictObject({
  boxes: z.string().min(1).describe('The output of boxes [N, boxes, 4], or of boxes and scores together [N, boxes, 4 + classes]. Default: the only output.').optional(), // prettier-ignore
  scores: z.string().min(1).describe('The output of scores [N, boxes, classes] or [N, boxes]. Default: they follow the four numbers of each box.').optional(), // prettier-ignore
  classes: z.string().min(1).describe('The output of class indexes [N, boxes], where the model chooses them itself.').optional(), // prettier-ignore
  layout: z.enum(['xyxy', 'cxcywh', 'xywh']).describe('What the four numbers are: two corners (default), middle and size, or a corner and size.').optional(), // prettier-ignore
  boxes_last: z.boolean().describe('The boxes lie along the last axis, as [N, 4 + classes, boxes]. Default false.').optional(), // prettier-ignore
  objectness: z.boolean().describe('The first score is that there is any object, and multiplies the others. Default false.').optional(), // prettier-ignore
  background: z.int().min(0).describe('The class that means no object. Default: none.').optional(),
  score: share.describe('Boxes of lower scores are left out. Default 0.25; 0.001 for map.').optional(),
  nms: share.describe('Of boxes of a class that overlap by a higher IoU only the best stays; 1: the model did this itself. Default 0.45.').optional(), // prettier-ignore
  most: z.int().min(1).max(1000).describe('At most so many boxes an image, the best. Default 100.').optional(),
  iou: share.describe('Boxes of an IoU of at least that are the same. Default 0.5.').optional(),
});

export type BoxOptions = z.infer<typeof boxOptions>;

/** Corners x1, y1, x2, y2 in the model's unit, the class, and how sure the model is. */
export interface Box {
  readonly corners: readonly [number, number, number, number];
  readonly label: number;
  readonly score: number;
}

/** Intersection over union of two boxes; 0 where both are empty. */
export function iouOf(
  { corners: [a, b, c, d] }: Pick<Box, 'corners'>,
  { corners: [p, q, r, s] }: Pick<Box, 'corners'>,
): number {
  // prettier-ignore
  const inner = Math.max(0, Math.min(c, r) - Math.max(a, p)) * Math.max(0, Math.min(d, s) - Math.max(b, q));
  const area = (w: number, h: number): number => Math.max(0, w) * Math.max(0, h);
  const union = area(c - a, d - b) + area(r - p, s - q) - inner;
  return union > 0 ? inner / union : 0;
}

/**
 * Greedy non-maximum suppression within classes: from the best score down (the earlier of equal ones first), a box stays unless it overlaps one of its class that stayed by
 * more than `overlap`. At most `most` boxes.
 */
export function suppress(found: readonly Box[], overlap: number, most: number): Box[] {
  const kept: Box[] = [];
  for (const box of [...found].sort((a, b) => b.score - a.score)) {
    if (kept.length === most) break;
    if (overlap >= 1 || !kept.some((other) => other.label === box.label && iouOf(box, other) > overlap)) kept.push(box);
  }
  return kept;
}

/** The boxes that a model finds in each sample, best first. @throws QtoolError `data` where the outputs are not as the options say. */
export function detections(outputs: Feeds, count: number, options: BoxOptions, metric: string, least = 0.25): Box[][] {
  const { score = least, nms = 0.45, most = 100, layout = 'xyxy' } = options;
  const table = tableOf(outputs, count, options, metric);
  return Array.from({ length: count }, (_, sample) => {
    const found: Box[] = [];
    for (let i = 0; i < table.boxes; i++) {
      const best = table.best(sample, i);
      if (Number.isNaN(best.score)) throw fault(metric, `sample ${sample}: a score is not a number`);
      if (best.score < score) continue;
      found.push({ ...best, corners: cornersOf(table.box(sample, i), layout) });
    }
    return suppress(found, nms, most);
  });
}

type Four = readonly [number, number, number, number];

/** The corners of a box. */
export function cornersOf([a, b, c, d]: Four, layout: NonNullable<BoxOptions['layout']>): Four {
  if (layout === 'xywh') return [a, b, a + c, b + d];
  if (layout === 'cxcywh') return [a - c / 2, b - d / 2, a + c / 2, b + d / 2];
  return [a, b, c, d];
}

interface Table {
  readonly boxes: number;
  box(sample: number, index: number): Four;
  /** The class of the highest score (of `background` not) and that score. */
  best(sample: number, index: number): Pick<Box, 'label' | 'score'>;
}

function tableOf(outputs: Feeds, count: number, options: BoxOptions, metric: string): Table {
  const names = Object.keys(outputs);
  if (options.boxes === undefined && names.length > 1)
    throw fault(metric, `which output holds the boxes? There are ${names.join(', ')}`, `Name it: metric: { name: ${metric}, boxes: …, scores: … }.`); // prettier-ignore
  const name = options.boxes ?? names[0] ?? '';
  const single = outputNamed(outputs, name, metric).dims.length < 3;
  const how = { turned: options.boxes_last ?? false, single };
  const boxes = grid(outputs, name, count, how, metric);
  const scores = options.scores === undefined ? boxes : grid(outputs, options.scores, count, how, metric); // prettier-ignore
  const labels = options.classes === undefined ? undefined : grid(outputs, options.classes, count, how, metric);
  const from = scores === boxes ? 4 : 0;
  const first = from + (options.objectness === true ? 1 : 0);
  if (boxes.columns < 4 || (scores !== boxes && boxes.columns !== 4) || first >= scores.columns)
    throw fault(metric, `output "${name}" has ${boxes.columns} numbers a box: not four and scores`, boxes.rows < boxes.columns ? undefined : 'boxes_last: true, where the boxes lie along the last axis; scores names the output of scores.'); // prettier-ignore
  for (const other of [scores, labels]) if (other && other.rows !== boxes.rows) throw fault(metric, `there are ${boxes.rows} boxes and ${other.rows} scores or classes`); // prettier-ignore
  return {
    boxes: boxes.rows,
    box: (s, i) => [boxes.at(s, i, 0), boxes.at(s, i, 1), boxes.at(s, i, 2), boxes.at(s, i, 3)],
    best(s, i) {
      let [label, score] = [-1, -Infinity];
      for (let c = first; c < scores.columns; c++) {
        const value = scores.at(s, i, c);
        if (c - first !== options.background && (value > score || Number.isNaN(value)))
          [label, score] = [c - first, value];
      }
      const any = options.objectness === true ? scores.at(s, i, from) : 1;
      return { label: labels ? labels.at(s, i, 0) : label, score: score * any };
    },
  };
}

interface Grid {
  readonly rows: number;
  readonly columns: number;
  at(sample: number, row: number, column: number): number;
}

/** An output [N, rows, columns] or [N, rows]; `turned`: [N, columns, rows]; `single`: without N, of one sample. */
function grid(
  outputs: Feeds,
  name: string,
  count: number,
  { turned, single }: { readonly turned: boolean; readonly single: boolean },
  metric: string,
): Grid {
  // prettier-ignore
  const tensor = outputNamed(outputs, name, metric);
  const dims = single ? tensor.dims : tensor.dims.slice(1);
  const [a, b = 1, ...more] = dims;
  if (a === undefined || more.length > 0 || tensor.type === 'string' || (single ? count > 1 : tensor.dims[0] !== count))
    throw fault(
      metric,
      `output "${name}" is ${tensor.type} [${tensor.dims.join(', ')}], not boxes of ${count} samples`,
    );
  const data = elements(tensor);
  const across = turned && dims.length > 1;
  const [rows, columns, row, column] = across ? [b, a, 1, b] : [a, b, b, 1];
  return { rows, columns, at: (s, i, c) => data[s * a * b + i * row + c * column]! };
}

/** The elements of a tensor of numbers. */
export const elements = (tensor: Tensor): ArrayLike<number> =>
  isFloat(tensor) ? numbersOf(tensor) : Float64Array.from(tensor.data as ArrayLike<number>, Number);

const fault = (metric: string, message: string, hint?: string): QtoolError => new QtoolError('data', `metric ${metric}: ${message}`, { hint }); // prettier-ignore
