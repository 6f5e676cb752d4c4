import { timeLeft } from '../../src/run/time_left.ts';

describe('the time that epochs still take', () => {
  it('follows from the share of the first one, then from how long the last ones took', () => {
    let clock = 0;
    const left = timeLeft([], () => clock);
    expect(left.at(0.5, false)).toBeUndefined();
    left.begin(3);
    expect(left.at(0, false)).toBe(Infinity);
    clock = 5;
    // Half of it took 5 s: 5 more, and three epochs of 10.
    expect(left.at(0.5, false)).toBe(35);
    clock = 12;
    expect(left.at(0.1, true)).toBe(36);
    clock = 14;
    left.end(14);
    expect(left.at(0.5, false)).toBeUndefined();
    left.begin(2);
    clock = 18;
    expect(left.at(0.9, false)).toBe(10 + 28);
    // Longer than the mean: no time is left of this one.
    clock = 40;
    expect(left.at(0.95, true)).toBe(28);
    left.end(26);
    left.begin(undefined);
    expect(left.at(0.5, false)).toBeUndefined();
  });

  it('takes the mean of the last three, of a run that was cut off too', () => {
    const left = timeLeft([100, 1, 2, 3], () => 0);
    left.begin(10);
    expect(left.at(0, false)).toBe(22);
  });
});
