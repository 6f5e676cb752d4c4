import fc from '../helpers/fc.ts';
import type { Feeds } from '../../src/data/types.ts';
import { cornersOf, detections, iouOf, suppress, type Box } from '../../src/metrics/boxes.ts';
import { detection, matched } from '../../src/metrics/detection.ts';
import { averagePrecision, meanAp } from '../../src/metrics/mean_ap.ts';
import type { MetricInput } from '../../src/metrics/metric.ts';
import { batch, float, run } from './support.ts';

const box = (x: number, y: number, width: number, height: number, label = 0, score = 1): Box => ({ corners: [x, y, x + width, y + height], label, score }); // prettier-ignore
/** One image: rows of x1, y1, x2, y2 and the scores of two classes. */
const image = (...rows: number[][]): Feeds => ({ y: float([1, rows.length, 6], ...rows.flat()) });
const row = (x: number, label: 0 | 1, score: number): number[] => [x, 0, x + 10, 10, label === 0 ? score : 0, label === 1 ? score : 0]; // prettier-ignore
const input = (own: Feeds, reference: Feeds, truth?: readonly Box[]): MetricInput => ({
  batch: batch(1, 1, truth && [{
    boxes: float([truth.length, 4], ...truth.flatMap(({ corners }) => corners)),
    classes: float([truth.length], ...truth.map(({ label }) => label)),
  }]), // prettier-ignore
  outputs: own,
  reference,
});

describe('iouOf', () => {
  it('is the share of unit squares in both among those in either', () => {
    const side = fc.nat(6);
    const any = fc.tuple(side, side, side, side).map(([x, y, w, h]) => box(x, y, w, h));
    fc.assert(
      fc.property(any, any, (a, b) => {
        const within = ({ corners: [x, y, z, w] }: Box, i: number, j: number) => i >= x && i < z && j >= y && j < w;
        let [both, either] = [0, 0];
        for (let i = 0; i < 12; i++)
          for (let j = 0; j < 12; j++) {
            const [p, q] = [within(a, i, j), within(b, i, j)];
            if (p && q) both++;
            if (p || q) either++;
          }
        expect(iouOf(a, b)).toBeCloseTo(either === 0 ? 0 : both / either, 12);
      }),
    );
  });
});

describe('suppress', () => {
  it('leaves the best of what overlaps, within a class', () => {
    // IoU of neighbours 9 / 11, 8 / 12 two apart.
    const found = [box(0, 0, 10, 1, 0, 0.5), box(1, 0, 10, 1, 0, 0.9), box(2, 0, 10, 1, 0, 0.7), box(1, 0, 10, 1, 1, 0.1)]; // prettier-ignore
    const scores = (overlap: number, most = 9) => suppress(found, overlap, most).map(({ score }) => score);
    expect([scores(0.5), scores(0.85), scores(1), scores(0.5, 1)]).toEqual([[0.9, 0.1], [0.9, 0.7, 0.5, 0.1], [0.9, 0.7, 0.5, 0.1], [0.9]]); // prettier-ignore
  });
});

describe('detections', () => {
  const wanted = [[{ corners: [1, 2, 5, 8], label: 1, score: expect.closeTo(0.8, 6) as number }]];
  it.each<readonly [string, Feeds, Parameters<typeof detections>[2]]>([
    ['one output', { y: float([1, 1, 6], 1, 2, 5, 8, 0.1, 0.8) }, {}],
    ['middle and size, turned', { y: float([1, 6, 1], 3, 5, 4, 6, 0.1, 0.8) }, { layout: 'cxcywh', boxes_last: true }],
    ['corner and size, objectness', { y: float([1, 1, 7], 1, 2, 4, 6, 0.8, 0.1, 1) }, { layout: 'xywh', objectness: true }], // prettier-ignore
    ['two outputs, one of background', { b: float([1, 1, 4], 1, 2, 5, 8), s: float([1, 1, 3], 0.95, 0.1, 0.8) }, { boxes: 'b', scores: 's', background: 0 }], // prettier-ignore
    ['chosen classes', { b: float([1, 4], 1, 2, 5, 8), s: float([1], 0.8), c: { type: 'int64', dims: [1], data: BigInt64Array.of(1n) } }, { boxes: 'b', scores: 's', classes: 'c' }], // prettier-ignore
  ])('reads %s', (_, outputs, options) => {
    const found = detections(outputs, 1, options, 'detection');
    if (options.background === 0) expect(found[0]![0]!.label).toBe(2);
    else expect(found).toEqual(wanted);
  });

  it.each<readonly [Feeds, Parameters<typeof detections>[2], RegExp]>([
    [{ a: float([1, 1, 4]), b: float([1]) }, {}, /which output holds the boxes\? There are a, b/],
    [{ a: float([1, 1, 3], 1, 2, 3) }, {}, /output "a" has 3 numbers a box/],
    [{ a: float([1, 1, 4], 1, 2, 3, 4) }, {}, /output "a" has 4 numbers a box: not four and scores/],
    [{ a: float([1, 1, 4], 1, 2, 3, 4), b: float([1, 2, 1], 1, 2) }, { boxes: 'a', scores: 'b' }, /1 boxes and 2 scores/], // prettier-ignore
    [{ a: float([1, 1, 1, 5], 1, 2, 3, 4, 5) }, {}, /output "a" is float32 \[1, 1, 1, 5\], not boxes of 1 samples/],
    [{ a: float([1, 1, 5], 1, 2, 3, 4, NaN) }, {}, /a score is not a number/],
    [{ a: float([1, 1, 5], 1, 2, 3, 4, 5) }, { scores: 'z' }, /the model has no output "z"/],
  ])('refuses others', (outputs, options, expected) => {
    expect(() => detections(outputs, 1, options, 'detection')).toThrow(expected);
  });

  it('turns the layouts into corners', () => {
    expect([cornersOf([1, 2, 4, 6], 'xyxy'), cornersOf([1, 2, 4, 6], 'xywh'), cornersOf([1, 2, 4, 6], 'cxcywh')]).toEqual([[1, 2, 4, 6], [1, 2, 5, 8], [-1, -1, 3, 5]]); // prettier-ignore
  });
});

describe('detection', () => {
  it('is twice the pairs over the boxes of both', () => {
    // Float: three boxes; own: one the same, one moved by half (IoU 1/3), one of the other class, one more.
    const reference = image(row(0, 0, 0.9), row(100, 0, 0.8), row(200, 1, 0.7));
    const own = image(row(0, 0, 0.9), row(105, 0, 0.8), row(200, 0, 0.7), row(300, 0, 0.3));
    expect(run(detection(), input(own, reference))).toMatchObject({ value: (100 * 2) / 7, unit: '%', reference: 100, samples: 1 }); // prettier-ignore
    expect(run(detection({ iou: 0.3 }), input(own, reference)).value).toBeCloseTo((100 * 4) / 7, 9);
    expect(run(detection(), input(reference, reference))).toMatchObject({ value: 100, drop: 0 });
    // A model of zeros finds nothing.
    expect(run(detection(), input(image(row(0, 0, 0)), reference))).toMatchObject({ value: 0, drop: 100 });
    expect(run(detection(), input(image(row(0, 0, 0)), image(row(0, 0, 0)))).value).toBe(NaN);
  });

  it('gives each box one partner, the nearest to the best first', () => {
    const [a, b] = [box(0, 0, 10, 1), box(2, 0, 10, 1)];
    expect(matched([box(1, 0, 10, 1), box(0, 0, 10, 1)], [a], 0.5)).toEqual([0, -1]);
    expect(matched([box(2, 0, 10, 1), box(0, 0, 10, 1)], [a, b], 0.5)).toEqual([1, 0]);
    // An IoU of exactly the least will do: 5 / 15.
    expect(matched([box(5, 0, 10, 1)], [a], 1 / 3)).toEqual([0]);
  });
});

describe('mean_ap', () => {
  it('averages the envelope of precision over 101 recalls', () => {
    // By its definition: for each recall the highest precision of any cut that reaches it.
    const found = fc.array(fc.boolean(), { maxLength: 12 });
    fc.assert(
      fc.property(found, fc.nat(4), (right, missed) => {
        const total = Math.max(1, right.filter(Boolean).length + missed);
        const counts = new Map(right.map((ok, i) => [1 - i / 100, { right: ok ? 1 : 0, wrong: ok ? 0 : 1 }]));
        const cuts = right.map((_, i) => right.slice(0, i + 1)).map((cut) => ({ hits: cut.filter(Boolean).length, all: cut.length })); // prettier-ignore
        const best = (level: number) => Math.max(0, ...cuts.filter(({ hits }) => 100 * hits >= level * total).map(({ hits, all }) => hits / all)); // prettier-ignore
        const wanted = Array.from({ length: 101 }, (_, level) => best(level)).reduce((sum, v) => sum + v, 0) / 101;
        expect(averagePrecision(counts, total)).toBeCloseTo(wanted, 12);
      }),
    );
  });

  const truth = [box(0, 0, 10, 10, 0), box(100, 0, 10, 10, 0), box(200, 0, 10, 10, 1)];
  const all = image(row(0, 0, 0.9), row(100, 0, 0.8), row(200, 1, 0.7));

  it('is the mean over classes and overlaps, of both models', () => {
    // Class 0: right at 0.9, wrong at 0.85, right at 0.8: precision 1 to recall 0.5 (51 levels), 2/3 beyond (50). Class 1: not found.
    const own = image(row(0, 0, 0.9), row(50, 0, 0.85), row(100, 0, 0.8));
    const wanted = (100 * (51 + (50 * 2) / 3)) / 101 / 2;
    const result = run(meanAp(), input(own, all, truth));
    expect(result).toMatchObject({ name: 'mean_ap', reference: 100, unit: '%' });
    expect(result.value).toBeCloseTo(wanted, 9);
    // Moved by 1 of 10: IoU 9 / 11 = 0.818 holds at 7 of the 10 overlaps from 0.5 to 0.95.
    const moved = image(row(1, 0, 0.9), row(101, 0, 0.8), row(201, 1, 0.7));
    expect(run(meanAp(), input(moved, all, truth)).value).toBeCloseTo(70, 9);
    expect(run(meanAp({ iou: 0.8 }), input(moved, all, truth)).value).toBeCloseTo(100, 9);
    expect(run(meanAp({ iou: [0.8, 0.9] }), input(moved, all, truth)).value).toBeCloseTo(50, 9);
    expect(run(meanAp(), input(image(row(0, 0, 0)), all, truth))).toMatchObject({ value: 0, drop: 100 });
  });

  it('puts the samples of all batches in one order', () => {
    // A wrong box of a higher score in another image: precision 1/2 at every recall.
    const [one, two] = [box(0, 0, 10, 10, 0), box(0, 0, 10, 10, 1)];
    const first = input(image(row(0, 0, 0.5)), all, [one]);
    const second = input(image(row(50, 0, 0.9), row(0, 1, 0.9)), all, [two]);
    expect(run(meanAp({ iou: 0.5 }), first, second).value).toBeCloseTo((50 + 100) / 2, 9);
  });

  it('needs true boxes', () => {
    expect(() => run(meanAp(), input(all, all))).toThrow(/metric mean_ap: the data has no true boxes/);
  });
});
