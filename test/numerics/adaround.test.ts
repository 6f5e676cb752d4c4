import {
  annealedBeta,
  roundingPenalty,
  roundingPenaltySlope,
  softRound,
  softRoundInverse,
  softRoundSlope,
} from '../../src/numerics/adaround.ts';

const points = [-3, -2.2, -1, -0.01, 0, 0.3, 1.7, 2.3, 4];

it('h is the stretched, clipped sigmoid', () => {
  expect(softRound(0)).toBeCloseTo(0.5, 12);
  expect(softRound(1)).toBeCloseTo(0.77727, 6); // 1.2/(1 + e⁻¹) − 0.1
  expect([softRound(-5), softRound(5)]).toEqual([0, 1]);
  for (const h of [0, 0.1, 0.5, 0.99]) expect(softRound(softRoundInverse(h))).toBeCloseTo(h, 12);
});

it('slopes agree with differences', () => {
  const e = 1e-6;
  for (const v of points) {
    expect(softRoundSlope(v)).toBeCloseTo((softRound(v + e) - softRound(v - e)) / (2 * e), 6);
    for (const beta of [2, 5.5, 20]) {
      const difference = (roundingPenalty([v + e], beta) - roundingPenalty([v - e], beta)) / (2 * e);
      expect(roundingPenaltySlope(v, beta)).toBeCloseTo(difference, 5);
    }
  }
});

it('the penalty is 0 for hard rounding and 1 for none', () => {
  expect(roundingPenalty([-9, 9, 0], 7)).toBeCloseTo(1, 12);
});

it('β falls from 20 to 2 after the warm-up', () => {
  expect([0, 0.2, 0.6, 1].map((p) => annealedBeta(p))).toEqual([20, 20, expect.closeTo(11, 10), expect.closeTo(2, 10)]);
});
