import type { NodeProto } from '../../graph/proto.ts';
import type { GradientRule } from '../rule.ts';
import { activationRules } from './activation.ts';
import { arithmeticRules } from './arithmetic.ts';
import { convRule, convTransposeRule } from './conv.ts';
import { einsumRule } from './einsum.ts';
import { gatherRules } from './gather.ts';
import { gruRule } from './gru.ts';
import { gemmRule, matmulRule } from './matmul.ts';
import { noGradient } from './none.ts';
import { normRules } from './norm.ts';
import { poolRules } from './pool.ts';
import { reduceRules } from './reduce.ts';
import { resizeRule } from './resize.ts';
import { shapeRules } from './shape.ts';
import { sliceRule } from './slice.ts';
import { softmaxRules } from './softmax.ts';

/** All gradient rules. */
const rules: readonly GradientRule[] = [
  convRule,
  convTransposeRule,
  matmulRule,
  gemmRule,
  einsumRule,
  ...activationRules,
  ...arithmeticRules,
  ...reduceRules,
  ...softmaxRules,
  ...normRules,
  ...poolRules,
  ...shapeRules,
  sliceRule,
  ...gatherRules,
  resizeRule,
  gruRule,
  ...noGradient,
];

const byOp = new Map(rules.flatMap((rule) => rule.ops.map((op) => [op, rule] as const)));

/** An operator's name, with its domain where that is not ONNX's own. */
export const operatorName = ({ domain, op_type }: NodeProto): string =>
  domain === '' || domain === 'ai.onnx' ? op_type : `${domain}.${op_type}`;

/** The rule of a node's operator; undefined where there is none. */
export const ruleOf = (node: NodeProto): GradientRule | undefined => byOp.get(operatorName(node));
