/** One output of the layers that read the scaled channels. */
export interface EqualizationRow {
  /** The channels it reads: `first` … `first + largest.length − 1`. */
  readonly first: number;
  /** Largest |w| and Σw² of each of them, over the kernel's places. */
  readonly largest: Float64Array;
  readonly squares: Float64Array;
  /** Weights a channel: kernel places. */
  readonly taps: number;
  /** Mean power of the output's deviation from its mean: what its noise is measured in. */
  readonly power: number;
}

export interface EqualizationProblem {
  /** Mean square and largest magnitude of each channel. */
  readonly power: Float64Array;
  readonly peak: Float64Array;
  /** A channel that must keep its scale, because it is clipped at a bound that all channels share. */
  readonly fixed: readonly boolean[];
  readonly rows: readonly EqualizationRow[];
  /** How far a scaled channel stays below the largest one, ≥ 1: unseen data goes further than calibration data. */
  readonly headroom: number;
  readonly bitsWeights: number;
  readonly bitsActivations: number;
}

const factors = [0.5, 0.8, 0.95, 1.05, 1.25, 2];

/**
 * Scales s of channels between two layers (x_c becomes s_c·x_c, the reading weights w_oc / s_c) that minimize the noise which
 * quantization is expected to add to the reading layers' outputs, each measured in that output's own power:
 *
 *   Σ_o (Δ_o² Σ_c taps·E[x_c²]·s_c² + δ² Σ_c Σ w_oc² / s_c²) / (12 P_o),
 *   Δ_o = max_c |w_oc| / s_c / (2^(bw−1) − 1),   δ = max_c s_c·peak_c / (2^ba − 1)
 *
 * with one weight step Δ_o a row and one activation step δ for the whole tensor. A common factor of all scales changes nothing, so
 * the largest s_c·peak_c is held at the largest peak; each channel then goes up or down as long as the sum falls.
 */
export function equalizingScales(p: EqualizationProblem): Float64Array {
  const top = p.peak.reduce((a, b) => Math.max(a, b), 0);
  const limit = p.peak.map((peak, c) =>
    p.fixed[c] || peak === 0 || peak === top ? 1 : Math.max(1, top / peak / p.headroom),
  );
  const free = [...limit.keys()].filter((c) => !p.fixed[c] && p.peak[c]! > 0);
  const s = limit.slice();
  const step = (top / (2 ** p.bitsActivations - 1)) ** 2;
  const levels = (2 ** (p.bitsWeights - 1) - 1) ** 2;
  const states = p.rows.map((row) => stateOf(row, p.power, s));
  const readers: RowState[][] = Array.from(p.peak, () => []);
  for (const state of states) state.row.largest.forEach((_, i) => readers[state.row.first + i]?.push(state));
  for (let sweep = 0, moved = true; sweep < 30 && moved; sweep++) {
    moved = false;
    for (const c of free) {
      const rows = readers[c]!;
      const start = s[c]!;
      const noise = (scale: number): number =>
        rows.reduce((sum, state) => sum + noiseWith(state, c, scale, p.power[c]!, start, step, levels), 0);
      let best = start;
      let least = noise(start);
      for (const factor of factors) {
        const scale = Math.min(limit[c]!, start * factor);
        const now = noise(scale);
        // Gains below a thousandth would keep the sweeps going for nothing.
        if (now < least * 0.999) [best, least] = [scale, now];
      }
      if (best === start) continue;
      s[c] = best;
      moved = true;
      for (const state of rows) move(state, c, best, p.power[c]!, start, s);
    }
  }
  return s;
}

/** A row's sums at the present scales, kept up to date so that trying a scale costs one step a row. */
interface RowState {
  readonly row: EqualizationRow;
  input: number;
  gain: number;
  /** Largest |w|/s, whose it is (counted from `first`), and the largest of the others. */
  top: number;
  at: number;
  second: number;
}

function stateOf(row: EqualizationRow, power: Float64Array, s: Float64Array): RowState {
  const state: RowState = { row, input: 0, gain: 0, top: 0, at: -1, second: 0 };
  for (let i = 0, c = row.first; i < row.largest.length; i++, c++) {
    const scale = s[c]!;
    state.input += power[c]! * scale * scale;
    state.gain += row.squares[i]! / (scale * scale);
  }
  rank(state, s);
  return state;
}

function rank(state: RowState, s: Float64Array): void {
  const { row } = state;
  [state.top, state.at, state.second] = [0, -1, 0];
  for (let i = 0; i < row.largest.length; i++) {
    const w = row.largest[i]! / s[row.first + i]!;
    if (w > state.top) [state.second, state.top, state.at] = [state.top, w, i];
    else if (w > state.second) state.second = w;
  }
}

/** The row's noise if channel c had another scale. */
function noiseWith(
  { row, input, gain, top, at, second }: RowState,
  c: number,
  scale: number,
  power: number,
  old: number,
  step: number,
  levels: number,
): number {
  const i = c - row.first;
  const largest = Math.max(at === i ? second : top, row.largest[i]! / scale);
  const inputs = input + power * (scale * scale - old * old);
  const gains = gain + row.squares[i]! * (1 / (scale * scale) - 1 / (old * old));
  return ((largest * largest * row.taps * inputs) / levels + step * gains) / row.power;
}

function move(state: RowState, c: number, scale: number, power: number, old: number, s: Float64Array): void {
  const i = c - state.row.first;
  state.input += power * (scale * scale - old * old);
  state.gain += state.row.squares[i]! * (1 / (scale * scale) - 1 / (old * old));
  const w = state.row.largest[i]! / scale;
  if (state.at === i || w > state.second) rank(state, s);
}
