import type { FormatCodes } from '../../numerics/formats/apply.ts';
import {
  betterFormatCodes,
  descendFormatCodes,
  gptqFormatCodes,
  heldCodes,
  outputProblem,
  refitScales,
  rowOutputError,
  scalesAreFree,
  type OutputProblem,
} from '../../numerics/formats/output_rounding.ts';
import { breathing, type Steps } from '../../util/steps.ts';
import type { Moments } from '../moments.ts';
import type { PassContext } from '../pass.ts';
import { learnRounding } from '../relaxed_rounding.ts';
import { worseHeldOut } from './held_out.ts';

/** How the code of a weight is chosen once its format is fitted; all but `nearest` look at what the layer's inputs are. */
export const formatRoundings = {
  nearest: 'each weight to its nearest value, by the rule of its format',
  gptq: "column by column, each weight's error made up for by those that follow",
  descent: 'from the nearest on, one weight at a time to its neighbour value, while the error falls',
  adaround: 'learned by gradient which neighbour each weight becomes, then descent',
} as const;

export type FormatRounding = keyof typeof formatRoundings;

export interface FormatRoundingOptions {
  readonly rounding: FormatRounding;
  readonly damping: number;
  readonly order: 'natural' | 'activation';
  /** Whether the scales are fitted to the output too, in turns with the codes. */
  readonly refit: boolean;
}

/** Adam steps of AdaRound and how they go, as `recover/adaround` has them. */
const learning = { iterations: 1000, rate: 0.01, regularization: 0.01, beta_start: 20, beta_end: 2, warmup: 0.2 };

/** Turns of scales and codes: they end when the error no longer falls, which takes few. */
const mostTurns = 20;

/** What came out, and by how much the error of the output fell against rounding to the nearest, in dB. */
export interface RoundedFormat {
  readonly codes: FormatCodes;
  readonly gain?: number;
  /** Why it is the nearest after all. */
  readonly why?: string;
}

/**
 * Chooses the codes of a weight anew for the least error of its layer's output, E‖(W − W̃)x‖². Weights that are exactly 0 stay so where the
 * format has 0. Where moments are of few inputs, those of `most` of them say whether the others are better off with the nearest.
 */
export async function roundFormat(
  held: FormatCodes,
  { data, columns }: { readonly data: Float32Array; readonly columns: number },
  { moments, most }: { readonly moments: Moments; readonly most?: Moments | undefined },
  o: FormatRoundingOptions,
  ctx: PassContext,
  at: string,
): Promise<RoundedFormat> {
  if (most !== undefined) {
    const trial = (await roundFormat(held, { data, columns }, { moments: most }, o, ctx, at)).codes.values;
    const why = worseHeldOut(data, { trial, nearest: held.values }, moments, most);
    if (why !== undefined) return { codes: held, why };
  }
  const breathe = <T>(steps: Steps<T>): Promise<T> => breathing(steps, ctx);
  let problem = await breathe(outputProblem(held, data, columns, moments, o.damping));
  const float = floatError(problem);
  const nearest = totalError(problem, held.codes);
  let codes = await choose(problem, o, ctx, at);
  let least = totalError(problem, codes);
  for (let turn = 0; o.refit && scalesAreFree(held) && turn < mostTurns; turn++) {
    const refitted = await breathe(refitScales(problem, codes));
    const next = codes.slice();
    await breathe(descendFormatCodes(refitted, next));
    const error = totalError(refitted, next);
    if (error >= least) break;
    [problem, codes, least] = [refitted, next, error];
  }
  const gain = 10 * Math.log10((nearest - float) / Math.max(least - float, Number.MIN_VALUE));
  return { codes: heldCodes(problem, codes), gain: nearest > float ? gain : 0 };
}

async function choose(p: OutputProblem, o: FormatRoundingOptions, ctx: PassContext, at: string): Promise<Uint16Array> {
  const breathe = <T>(steps: Steps<T>): Promise<T> => breathing(steps, ctx);
  if (o.rounding === 'gptq') return breathe(gptqFormatCodes(p, { order: o.order, at }));
  const codes = o.rounding === 'adaround' ? await learned(p, ctx) : p.held.codes.slice();
  await breathe(descendFormatCodes(p, codes));
  return breathe(betterFormatCodes(p, p.held.codes, codes));
}

/** AdaRound's choice between the two neighbours of each weight. */
async function learned(p: OutputProblem, ctx: PassContext): Promise<Uint16Array> {
  const count = p.weights.length;
  const below = new Uint16Array(count);
  const [lower, gap] = [new Float64Array(count), new Float64Array(count)];
  const share = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const { levels } = p.grids[p.paramOf[i]!]!;
    const w = p.weights[i]!;
    let code = p.held.codes[i]!;
    if (p.frozen[i] !== 1) {
      while (code > 0 && levels[code]! > w) code--;
      while (code + 1 < levels.length && levels[code + 1]! <= w) code++;
      gap[i] = code + 1 < levels.length ? levels[code + 1]! - levels[code]! : 0;
    }
    below[i] = code;
    lower[i] = levels[code]!;
    share[i] = gap[i]! > 0 ? Math.min(1, Math.max(0, (w - lower[i]!) / gap[i]!)) : 0;
  }
  const up = await learnRounding({ ...p, rows: p.rows / p.groups, size: p.columns, lower, gap, share }, learning, ctx);
  return below.map((code, i) => code + (gap[i]! > 0 ? up[i]! : 0));
}

function totalError(p: OutputProblem, codes: Uint16Array): number {
  let sum = 0;
  for (let r = 0; r < p.rows; r++) sum += rowOutputError(p, r, codes);
  return sum;
}

/** What the float weights have: −t wᵀ. */
const floatError = ({ weights, target }: OutputProblem): number =>
  target.reduce((sum, t, i) => sum - t * weights[i]!, 0);
