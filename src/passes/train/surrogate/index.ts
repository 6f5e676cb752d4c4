import { dorefaQuantizer } from './dorefa.ts';
import { learningPass, type LearningKind } from './kind.ts';
import { lsqQuantizer } from './lsq.ts';
import { pactQuantizer } from './pact.ts';
import { rangeLinearQuantizer } from './range_linear.ts';
import { wrpnQuantizer } from './wrpn.ts';

/** The quantizers that act while training. A new one is its file and one line here. */
export const learningKinds: readonly LearningKind[] = [
  rangeLinearQuantizer,
  dorefaQuantizer,
  wrpnQuantizer,
  pactQuantizer,
  lsqQuantizer,
];

export const learningPasses = learningKinds.map(learningPass);
