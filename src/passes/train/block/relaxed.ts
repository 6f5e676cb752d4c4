import type { Penalty } from '../../../autodiff/training_graph.ts';
import { add, mul, positive, scaled, sub, sum, unary, type GraphWriter, type Value } from '../../../autodiff/writer.ts';
import { codeBounds, storedCodes, toCodes } from '../../recover/rounding_problem.ts';
import { scaleOf, type QuantizedLayer } from '../../recover/sites.ts';
import { stretch } from '../../relaxed_rounding.ts';
import { linearSizes, readRows, writeRows } from '../../rows.ts';

/** What is to be decided of a layer: which of two neighbouring codes each weight becomes. Arrays are in the order of the weight's tensor. */
export interface RelaxedWeights {
  readonly layer: QuantizedLayer;
  /** The lower of the two, in real units, and how far above it the upper one is: 0 where there is only one. */
  readonly lower: Float32Array;
  readonly gap: Float32Array;
  /** V at first. */
  readonly first: Float32Array;
  /** The codes, with zero points, where the upper one is taken for V ≥ 0, that is h ≥ ½. */
  codes(v: ArrayLike<number>): Float64Array;
}

type Five = [Float64Array, Float64Array, Float64Array, Float64Array, Float64Array];

/** h at first stays so far from its ends, where it has no gradient. */
const margin = 0.01;

/**
 * The two neighbours of each weight, and V such that the relaxed weights are the float ones (Nagel et al. 2020, section 3.3; Li et al. 2021).
 * Where the code stored now is neither of them (GPTQ and AdaRound go further), the two are it and the next one towards the float weight.
 * Zeros stay zeros.
 * @param trust how far h goes from there to the code that is stored now: 0 to 1.
 */
export function relaxedWeights(layer: QuantizedLayer, trust: number): RelaxedWeights {
  const { size } = linearSizes(layer);
  const weights = readRows(layer, layer.weights);
  const stored = storedCodes(layer);
  const { qmin, qmax } = codeBounds(stored, layer.zeroPoint);
  const held = (code: number): number => Math.min(qmax, Math.max(qmin, code));
  const [low, high, lower, gap, first] = Array.from({ length: 5 }, () => new Float64Array(weights.length)) as Five;
  weights.forEach((weight, i) => {
    const scale = scaleOf(layer, Math.floor(i / size));
    const exact = weight / scale;
    const code = stored[i]!;
    let floor = Math.floor(exact);
    if (code < held(floor)) floor = code;
    if (code > held(floor + 1)) floor = code - 1;
    low[i] = weight === 0 ? code : held(floor);
    high[i] = weight === 0 ? code : held(floor + 1);
    lower[i] = low[i] * scale;
    gap[i] = (high[i] - low[i]) * scale;
    const share = exact - floor + trust * (code - exact);
    const h = Math.min(1 - margin, Math.max(margin, share));
    const sigma = (h - stretch.gamma) / (stretch.zeta - stretch.gamma);
    first[i] = Math.log(sigma / (1 - sigma));
  });
  const floats = (rows: Float64Array): Float32Array => Float32Array.from(writeRows(layer, rows));
  return {
    layer,
    lower: floats(lower),
    gap: floats(gap),
    first: floats(first),
    codes: (v) => toCodes(layer, readRows(layer, v).map((one, i) => (one >= 0 ? high[i]! : low[i]!))),
  }; // prettier-ignore
}

/** h(V) = clip(σ(V)·(ζ − γ) + γ, 0, 1). */
function rectified(w: GraphWriter, v: Value): { readonly sigma: Value; readonly h: Value } {
  const sigma = unary(w, 'Sigmoid', v);
  const open = add(w, scaled(w, sigma, stretch.zeta - stretch.gamma), w.scalar(stretch.gamma));
  return { sigma, h: w.op('Clip', [open, w.scalar(0), w.scalar(1)], v.dims) };
}

/** The relaxed weights, lower + h(V)·gap. */
export const writeRelaxed = (w: GraphWriter, v: Value, lower: Value, gap: Value): Value =>
  add(w, lower, mul(w, gap, rectified(w, v).h));

/**
 * Σ (1 − |2h − 1|^β), which drives h to 0 or 1 (Nagel et al. 2020, eq. 24).
 * @param strength the scalar that λ is fed as. @param beta where β is fed.
 */
export const roundingPenalty = (strength: string, beta: () => Value): Penalty => ({
  strength,
  write(w, v) {
    const { sigma, h } = rectified(w, v);
    const centred = sub(w, scaled(w, h, 2), w.scalar(1));
    const distance = w.op('Max', [unary(w, 'Abs', centred), w.scalar(1e-12)], v.dims);
    const powered = w.op('Pow', [distance, sub(w, beta(), w.scalar(1))], v.dims);
    const penalty = sum(w, sub(w, w.scalar(1), mul(w, powered, distance)), [...v.dims.keys()]);
    // ∂/∂h of −|2h − 1|^β is −2β |2h − 1|^(β−1) sign(2h − 1); ∂h/∂V is (ζ − γ) σ (1 − σ) inside the clip, 0 outside.
    const byH = mul(w, mul(w, powered, unary(w, 'Sign', centred)), scaled(w, beta(), -2));
    const slope = scaled(w, mul(w, sigma, sub(w, w.scalar(1), sigma)), stretch.zeta - stretch.gamma);
    const inside = positive(w, mul(w, h, sub(w, w.scalar(1), h)));
    return { penalty, gradient: mul(w, mul(w, byH, slope), inside) };
  },
});
