import { axisBelow, plotOf } from '../../src/report/page/svg.ts';
import fc from '../helpers/fc.ts';
import { frontierOf, measuredModels } from '../../src/report/page/models.ts';
import { linear, logarithmic } from '../../src/report/page/scale.ts';
import { treemap } from '../../src/report/page/treemap.ts';
import { report, top1 } from './sample.ts';

describe('treemap', () => {
  // Bytes: whole numbers.
  const sizes = fc.array(fc.integer({ min: 0, max: 1e6 }), { minLength: 1, maxLength: 60 });

  it('gives every value its share of the area, all of it together, and no two the same place', () => {
    fc.assert(
      fc.property(sizes, (values) => {
        const total = values.reduce((a, b) => a + b, 0);
        fc.pre(total > 0);
        const tiles = treemap(values, 400, 300);
        // Sums of doubles: 1e-6 of the whole is far above their rounding and far below a pixel.
        for (const { index, width, height } of tiles)
          expect(Math.abs(width * height - ((values[index] ?? 0) / total) * 120_000)).toBeLessThan(0.12);
        expect(Math.abs(tiles.reduce((sum, { width, height }) => sum + width * height, 0) - 120_000)).toBeLessThan(
          0.12,
        );
        for (const { x, y, width, height } of tiles) {
          expect(Math.min(x, y)).toBeGreaterThanOrEqual(0);
          // A strip of almost no area is divided last, and its sides are differences of large numbers: a hundredth of a pixel.
          expect(x + width).toBeLessThanOrEqual(400.01);
          expect(y + height).toBeLessThanOrEqual(300.01);
        }
        for (const [i, a] of tiles.entries())
          for (const b of tiles.slice(i + 1)) {
            const wide = Math.min(a.x + a.width, b.x + b.width) - Math.max(a.x, b.x);
            const tall = Math.min(a.y + a.height, b.y + b.height) - Math.max(a.y, b.y);
            expect(Math.min(wide, tall)).toBeLessThan(0.01);
          }
      }),
    );
  });

  it('divides 6 × 4 between 6, 6, 4, 3, 2, 2, 1 as the paper does', () => {
    const tiles = treemap([6, 6, 4, 3, 2, 2, 1], 6, 4);
    const near = tiles.map(({ x, y, width, height }) => [x, y, width, height].map((v) => Number(v.toFixed(2))));
    expect(near).toEqual([
      [0, 0, 3, 2],
      [0, 2, 3, 2],
      [3, 0, 1.71, 2.33],
      [4.71, 0, 1.29, 2.33],
      [3, 2.33, 1.2, 1.67],
      [4.2, 2.33, 1.2, 1.67],
      [5.4, 2.33, 0.6, 1.67],
    ]);
  });

  it('gives nothing to what has no size', () => {
    expect(treemap([0, 0], 10, 10)).toEqual([]);
    expect(treemap([0, 5], 10, 10)).toEqual([{ index: 1, x: 0, y: 0, width: 10, height: 10 }]);
  });
});

describe('linear', () => {
  it('widens to whole ticks', () => {
    const { at, ticks } = linear([91.3, 98.9], [0, 100]);
    expect(ticks).toEqual([90, 92, 94, 96, 98, 100]);
    expect([at(90), at(95), at(100), at(200), at(-5)]).toEqual([0, 50, 100, 100, 0]);
  });

  it('has room around a single value, and for none', () => {
    const { at, ticks } = linear([50, 50, Infinity], [0, 100]);
    expect(at(50)).toBeCloseTo(50);
    expect(at(Infinity)).toBe(100);
    expect(ticks.length).toBeGreaterThan(1);
    expect(linear([], [0, 1]).ticks[0]).toBe(0);
  });

  it('covers what it is given with few ticks', () => {
    // Whole thousandths: no double is so small that a tick cannot lie beside it.
    const values = fc.array(
      fc.integer({ min: -1e12, max: 1e12 }).map((n) => n / 1000),
      { minLength: 1, maxLength: 9 },
    );
    fc.assert(
      fc.property(values, (all) => {
        const { ticks } = linear(all, [0, 1]);
        const slack = 1e-6 * Math.max(...all.map(Math.abs), 1e-300);
        expect(ticks[0]).toBeLessThanOrEqual(Math.min(...all) + slack);
        expect(ticks.at(-1)).toBeGreaterThanOrEqual(Math.max(...all) - slack);
        expect(ticks.length).toBeLessThan(9);
      }),
    );
  });
});

describe('logarithmic', () => {
  it('puts equal ratios equally far apart, with ticks at 1, 2 and 5', () => {
    const { at, ticks } = logarithmic([100, 1000], [0, 100]);
    expect(ticks).toEqual([100, 200, 500, 1000]);
    expect(at(200) - at(100)).toBeCloseTo(at(1000) - at(500));
    expect([at(0), at(1e9)]).toEqual([0, 100]);
  });
});

describe('measuredModels', () => {
  it('has every model once, with what became of it', () => {
    const found = measuredModels(report, 'top1');
    expect(found.map(({ label, role, metric }) => [label, role, metric.value])).toEqual([
      ['float model', 'float', 99.07],
      ['1 light', 'kept', 99.05],
      ['2 harsh level 0.99', 'refused', 11.35],
      ['3 bisected', 'kept', 98.8],
      ['result: 4 ptq', 'result', 98.96],
    ]);
    expect(measuredModels(report, 'unknown')).toEqual([]);
  });
});

describe('frontierOf', () => {
  const model = (bytes: number, value: number, higherIsBetter = true) => ({ bytes, metric: { ...top1(value, 0), higherIsBetter } }); // prettier-ignore
  const sizes = (models: readonly { bytes: number }[]) => models.map(({ bytes }) => bytes);

  it('holds what none beats in size and quality', () => {
    expect(sizes(frontierOf([model(9, 99), model(4, 97), model(5, 96), model(2, 90), model(9, 98)]))).toEqual([
      2, 4, 9,
    ]);
    expect(sizes(frontierOf([model(9, 0.1, false), model(4, 0.2, false), model(5, 0.3, false)]))).toEqual([4, 9]);
  });
});

it('labels below an axis never touch', () => {
  const plot = plotOf(300);
  for (const most of [1.2e6, 1.9e6, 9.99e6, 4e5]) {
    const drawn = axisBelow(linear([most / 5, most], [plot.left, plot.right], 8), plot, () => '1.00 MB');
    const places = [...drawn.matchAll(/<text class="(mid|end)" x="([\d.]+)"/g)].map(([, kind, x]) => {
      const wide = 7 * 6.6;
      return kind === 'end' ? [Number(x) - wide, Number(x)] : [Number(x) - wide / 2, Number(x) + wide / 2];
    });
    expect(places.length).toBeGreaterThan(2);
    for (const [i, [begin]] of places.entries()) expect(begin! - (places[i - 1]?.[1] ?? -Infinity)).toBeGreaterThan(3);
  }
});
