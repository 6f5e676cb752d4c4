/** Where values lie on an axis, and which of them get a label. Pure. */
export interface Scale {
  /** Pixels of a value; what lies outside of the range is held at its ends. */
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

/** Values from `low` to `high`, widened to whole ticks, over the pixels `from` to `to`. One value alone gets room on both sides. */
export function linear(values: readonly number[], [from, to]: readonly [number, number], count = 4): Scale {
  const finite = values.filter(Number.isFinite);
  let [low, high] = [Math.min(...finite), Math.max(...finite)];
  // No axis divides what is at the end of a double's digits.
  if (finite.length === 0 || Math.max(Math.abs(low), Math.abs(high)) < 1e-300) [low, high] = [0, 1];
  // A difference below the digits of a double is none.
  const apart = high - low > Math.max(Math.abs(low), Math.abs(high)) * 1e-9;
  if (!apart) [low, high] = low === 0 ? [0, 1] : [low - Math.abs(low) * 0.05, high + Math.abs(high) * 0.05];
  const step = niceStep((high - low) / count);
  const [first, last] = [Math.floor(low / step + 1e-9), Math.ceil(high / step - 1e-9)];
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
  return { at: (value) => place(value, first * step, last * step, from, to), ticks };
}

/** The same by powers: for positive values that lie far apart. Ticks at 1, 2 and 5 times a power of ten. */
export function logarithmic(values: readonly number[], [from, to]: readonly [number, number]): Scale {
  const positive = values.filter((value) => value > 0 && Number.isFinite(value));
  const [low, high] = positive.length === 0 ? [1, 10] : [Math.min(...positive), Math.max(...positive)];
  const [start, end] = [Math.log10(low) - 0.08, Math.log10(high) + 0.08];
  const ticks: number[] = [];
  for (let power = Math.floor(start); power <= Math.ceil(end); power++)
    for (const digit of [1, 2, 5]) {
      const tick = Number(`${digit}e${power}`);
      if (Math.log10(tick) >= start && Math.log10(tick) <= end) ticks.push(tick);
    }
  // Over many powers of ten their own ticks are enough.
  const wanted = ticks.length > 6 ? ticks.filter((tick) => Number.isInteger(Math.log10(tick))) : ticks;
  return { at: (value) => place(Math.log10(Math.max(value, Number.MIN_VALUE)), start, end, from, to), ticks: wanted };
}

/** 1, 2 or 5 times a power of ten, the smallest that is at least `raw`. */
function niceStep(raw: number): number {
  const power = 10 ** Math.floor(Math.log10(raw));
  const digit = [1, 2, 5, 10].find((one) => one * power >= raw * (1 - 1e-9)) ?? 10;
  return digit * power;
}

function place(value: number, low: number, high: number, from: number, to: number): number {
  const share = Number.isNaN(value) ? 0 : Math.max(0, Math.min(1, (value - low) / (high - low)));
  return from + share * (to - from);
}
