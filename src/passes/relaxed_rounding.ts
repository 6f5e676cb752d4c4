import type { Tensor } from '../data/types.ts';
import { makeModel, makeNode, makeValue } from '../graph/build.ts';
import type { Model } from '../graph/model.ts';
import type { NodeProto } from '../graph/proto.ts';
import { makeTensor } from '../graph/tensor.ts';
import type { Look } from './pass.ts';

/** AdaRound's rectified sigmoid: h(V) = clip(σ(V)·(ζ − γ) + γ, 0, 1) with ζ = 1.1, γ = −0.1 (Nagel et al. 2020, eq. 23). */
export const stretch = { zeta: 1.1, gamma: -0.1 } as const;

/** Adam's constants (Kingma & Ba 2015). */
const adam = { first: 0.9, second: 0.999, epsilon: 1e-8 } as const;

/**
 * One Adam step of AdaRound for a layer, as an onnxruntime graph; everything is [groups, rows, K].
 *
 * Minimises tr(W̃ G W̃ᵀ) − 2 tr(T W̃ᵀ) + λ Σ (1 − |2h(V) − 1|^β), W̃ = lower + h(V)·gap: between each weight's lower neighbour and the
 * upper one, `gap` above it; 0 where there is only one. Inputs: V, m, v (the state), lower, gap, gram, target, and the scalars beta,
 * lambda, rate, m_fix, v_fix (Adam's bias corrections 1/(1 − βᵢᵗ)). Outputs: V_next, m_next, v_next.
 */
export function adaroundStep(): Model {
  const nodes: NodeProto[] = [];
  const initializers = Object.entries({
    one: 1,
    two: 2,
    zero: 0,
    width: stretch.zeta - stretch.gamma,
    gamma: stretch.gamma,
    first: adam.first,
    first_rest: 1 - adam.first,
    second: adam.second,
    second_rest: 1 - adam.second,
    epsilon: adam.epsilon,
    tiny: 1e-12,
  }).map(([name, value]) => makeTensor(name, 'float32', [], Float32Array.of(value)));
  const op = (type: string, inputs: string[], output: string, attributes = {}): string => {
    nodes.push(makeNode(type, inputs, [output], attributes));
    return output;
  };
  op('Sigmoid', ['V'], 'sigma');
  op('Add', [op('Mul', ['sigma', 'width'], 'stretched'), 'gamma'], 'open_h');
  op('Clip', ['open_h', 'zero', 'one'], 'h');
  op('Add', ['lower', op('Mul', ['gap', 'h'], 'above')], 'w');
  op('Sub', [op('MatMul', ['w', 'gram'], 'wg'), 'target'], 'residual');
  op('Mul', [op('Mul', ['residual', 'gap'], 'rg'), 'two'], 'slope_w');
  // ∂h/∂V = (ζ − γ) σ (1 − σ) inside the clip, 0 outside.
  op('Mul', [op('Mul', ['sigma', op('Sub', ['one', 'sigma'], 'rest')], 'ss'), 'width'], 'open_slope_h');
  op('Cast', [op('Equal', ['h', 'open_h'], 'h_inside')], 'h_mask', { to: 1 });
  op('Mul', ['open_slope_h', 'h_mask'], 'slope_h');
  // ∂/∂h of 1 − |2h − 1|^β = −2β |2h − 1|^(β−1) sign(2h − 1).
  op('Sub', [op('Mul', ['h', 'two'], 'h2'), 'one'], 'centred');
  op('Max', [op('Abs', ['centred'], 'distance'), 'tiny'], 'safe');
  op('Pow', ['safe', op('Sub', ['beta', 'one'], 'power')], 'powered');
  op(
    'Mul',
    [op('Mul', ['powered', op('Sign', ['centred'], 'sign')], 'ps'), op('Mul', ['beta', 'two'], 'beta2')],
    'regular',
  );
  op('Sub', ['slope_w', op('Mul', ['regular', 'lambda'], 'lr')], 'slope');
  op('Mul', ['slope', 'slope_h'], 'gradient');
  op('Add', [op('Mul', ['m', 'first'], 'm1'), op('Mul', ['gradient', 'first_rest'], 'm2')], 'm_next');
  op(
    'Add',
    [op('Mul', ['v', 'second'], 'v1'), op('Mul', [op('Mul', ['gradient', 'gradient'], 'gg'), 'second_rest'], 'v2')],
    'v_next',
  );
  op('Add', [op('Sqrt', [op('Mul', ['v_next', 'v_fix'], 'vh')], 'root'), 'epsilon'], 'denominator');
  op('Div', [op('Mul', ['m_next', 'm_fix'], 'mh'), 'denominator'], 'direction');
  op('Sub', ['V', op('Mul', ['direction', 'rate'], 'move')], 'V_next');
  const matrix = ['G', 'R', 'K'];
  const inputs = ['V', 'm', 'v', 'lower', 'gap', 'target'].map((name) => makeValue(name, 'float32', matrix));
  const scalars = ['beta', 'lambda', 'rate', 'm_fix', 'v_fix'].map((name) => makeValue(name, 'float32', []));
  return makeModel({
    opset: 17,
    ir: 8,
    inputs: [...inputs, makeValue('gram', 'float32', ['G', 'K', 'K']), ...scalars],
    outputs: ['V_next', 'm_next', 'v_next'].map((name) => makeValue(name, 'float32', matrix)),
    nodes,
    initializers,
  });
}

/** What AdaRound decides: of two neighbours of each weight which one it becomes. Everything is [groups, rows, K]. */
export interface RelaxedProblem {
  readonly groups: number;
  readonly rows: number;
  readonly size: number;
  readonly lower: ArrayLike<number>;
  readonly gap: ArrayLike<number>;
  /** Where the weight lies between the two, 0 to 1. */
  readonly share: Float64Array;
  /** G and T, in units of the layer's output power. */
  readonly gram: ArrayLike<number>;
  readonly target: ArrayLike<number>;
}

export interface LearningOptions {
  /** Adam steps. */
  readonly iterations: number;
  readonly rate: number;
  readonly regularization: number;
  readonly beta_start: number;
  readonly beta_end: number;
  readonly warmup: number;
}

/** Adam on the relaxed roundings; 1 where the upper neighbour is taken. */
export async function learnRounding(
  p: RelaxedProblem,
  o: LearningOptions,
  look: Pick<Look, 'compute'>,
): Promise<Uint8Array> {
  const step = adaroundStep();
  const dims = [p.groups, p.rows, p.size];
  const tensor = (data: ArrayLike<number>, shape: readonly number[] = dims): Tensor => ({
    type: 'float32',
    dims: shape,
    data: Float32Array.from(data),
  });
  const scalar = (value: number): Tensor => tensor([value], []);
  // V starts where h(V) is the fraction that rounding would drop, so that the relaxed weights are the float ones.
  const start = p.share.map((share) => {
    const sigma = (share - stretch.gamma) / (stretch.zeta - stretch.gamma);
    return Math.log(sigma / (1 - sigma));
  });
  const fixed = {
    lower: tensor(p.lower),
    gap: tensor(p.gap),
    target: tensor(p.target),
    gram: tensor(p.gram, [p.groups, p.size, p.size]),
  };
  let state = {
    V: tensor(start),
    m: tensor(new Float32Array(start.length)),
    v: tensor(new Float32Array(start.length)),
  };
  for (let t = 1; t <= o.iterations; t++) {
    const done = t / o.iterations;
    const anneal = Math.max(0, (done - o.warmup) / Math.max(1e-9, 1 - o.warmup));
    const scalars = {
      beta: scalar(o.beta_end + (o.beta_start - o.beta_end) * 0.5 * (1 + Math.cos(anneal * Math.PI))),
      lambda: scalar(done < o.warmup ? 0 : o.regularization),
      rate: scalar(o.rate),
      m_fix: scalar(1 / (1 - 0.9 ** t)),
      v_fix: scalar(1 / (1 - 0.999 ** t)),
    };
    const next = await look.compute(step, { ...fixed, ...state, ...scalars });
    state = { V: next.V_next as Tensor, m: next.m_next as Tensor, v: next.v_next as Tensor };
  }
  return Uint8Array.from(state.V.data as Float32Array, (v) => (v > 0 ? 1 : 0));
}
