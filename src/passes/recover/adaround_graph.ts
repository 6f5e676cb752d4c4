import { makeModel, makeNode, makeValue } from '../../graph/build.ts';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { makeTensor } from '../../graph/tensor.ts';

/** AdaRound's rectified sigmoid: h(V) = clip(σ(V)·(ζ − γ) + γ, 0, 1) with ζ = 1.1, γ = −0.1 (Nagel et al. 2020, eq. 23). */
export const stretch = { zeta: 1.1, gamma: -0.1 } as const;

/** Adam's constants (Kingma & Ba 2015). */
const adam = { first: 0.9, second: 0.999, epsilon: 1e-8 } as const;

/**
 * One Adam step of AdaRound for a layer, as an onnxruntime graph; everything is [groups, rows, K].
 *
 * Minimises tr(W̃ G W̃ᵀ) − 2 tr(T W̃ᵀ) + λ Σ (1 − |2h(V) − 1|^β), W̃ = s·clip(⌊W/s⌋ + h(V), qmin, qmax). Inputs: V, m, v (the
 * state), floor, scale, gram, target, and the scalars beta, lambda, rate, m_fix, v_fix (Adam's bias corrections 1/(1 − βᵢᵗ)).
 * Outputs: V_next, m_next, v_next.
 */
export function adaroundStep(qmin: number, qmax: number): Model {
  const nodes: NodeProto[] = [];
  const initializers = Object.entries({
    one: 1,
    two: 2,
    zero: 0,
    low: qmin,
    high: qmax,
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
  op('Add', ['floor', 'h'], 'open_q');
  op('Clip', ['open_q', 'low', 'high'], 'q');
  op('Mul', ['q', 'scale'], 'w');
  op('Sub', [op('MatMul', ['w', 'gram'], 'wg'), 'target'], 'residual');
  op('Mul', [op('Mul', ['residual', 'scale'], 'rs'), 'two'], 'slope_q');
  // ∂h/∂V = (ζ − γ) σ (1 − σ) inside the clip, 0 outside; the same for q.
  op('Mul', [op('Mul', ['sigma', op('Sub', ['one', 'sigma'], 'rest')], 'ss'), 'width'], 'open_slope_h');
  op('Cast', [op('Equal', ['h', 'open_h'], 'h_inside')], 'h_mask', { to: 1 });
  op('Cast', [op('Equal', ['q', 'open_q'], 'q_inside')], 'q_mask', { to: 1 });
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
  op('Sub', [op('Mul', ['slope_q', 'q_mask'], 'sq'), op('Mul', ['regular', 'lambda'], 'lr')], 'slope');
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
  const inputs = ['V', 'm', 'v', 'floor', 'scale', 'target'].map((name) => makeValue(name, 'float32', matrix));
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
