const { PI, abs, exp, sqrt } = Math;

/**
 * The complementary error function, to about 14 digits: the Taylor series of erf below 2.5, a continued fraction (Lentz's
 * evaluation) above (Abramowitz & Stegun 7.1.6 and 7.1.14).
 */
export function erfc(x: number): number {
  if (x < 0) return 2 - erfc(-x);
  if (x > 27) return 0;
  if (x < 2.5) {
    let term = x;
    let sum = x;
    for (let n = 1; abs(term) > 1e-17 * abs(sum); n++) {
      term *= (2 * x * x) / (2 * n + 1);
      sum += term;
    }
    return 1 - (2 / sqrt(PI)) * exp(-x * x) * sum;
  }
  let f = x;
  let c = x;
  let d = 0;
  for (let n = 1; n < 200; n++) {
    const a = n / 2;
    d = 1 / (x + a * d);
    c = x + a / c;
    f *= c * d;
    if (abs(c * d - 1) < 1e-16) break;
  }
  return exp(-x * x) / (sqrt(PI) * f);
}

/** Density of the standard normal distribution. */
export function normalDensity(x: number): number {
  return exp((-x * x) / 2) / sqrt(2 * PI);
}

/** Probability that a standard normal variable is above x. */
export function normalTail(x: number): number {
  return erfc(x / Math.SQRT2) / 2;
}

const golden = (sqrt(5) - 1) / 2;

/**
 * Golden-section search for the least of a function: narrows lo … hi as long as `goesOn` says, by one value a step. `visit` sees the
 * values.
 */
export function narrowed(
  f: (x: number) => number,
  [low, high]: readonly [number, number],
  goesOn: (lo: number, hi: number, step: number) => boolean,
  visit?: (x: number, value: number) => void,
): readonly [number, number] {
  let [lo, hi] = [low, high];
  let a = hi - golden * (hi - lo);
  let b = lo + golden * (hi - lo);
  let [fa, fb] = [f(a), f(b)];
  for (let step = 0; goesOn(lo, hi, step); step++) {
    visit?.(a, fa);
    visit?.(b, fb);
    if (fa < fb) {
      [hi, b, fb] = [b, a, fa];
      a = hi - golden * (hi - lo);
      fa = f(a);
    } else {
      [lo, a, fa] = [a, b, fb];
      b = lo + golden * (hi - lo);
      fb = f(b);
    }
  }
  return [lo, hi];
}

/** The root of an increasing function between lo and hi, by bisection to the last bit. */
export function rootOf(f: (x: number) => number, lo: number, hi: number): number {
  for (;;) {
    const middle = (lo + hi) / 2;
    if (middle <= lo || middle >= hi) return middle;
    if (f(middle) < 0) lo = middle;
    else hi = middle;
  }
}
