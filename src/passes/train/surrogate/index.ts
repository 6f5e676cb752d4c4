import { biRealQuantizer } from './bi_real.ts';
import { binaryConnectQuantizer } from './binary_connect.ts';
import { codebookQuantizer } from './codebook.ts';
import { dorefaQuantizer } from './dorefa.ts';
import { formatTrainer } from './format.ts';
import { inqQuantizer } from './inq.ts';
import { learningPass, type LearningKind } from './kind.ts';
import { lsqQuantizer } from './lsq.ts';
import { lsqPlusQuantizer } from './lsq_plus.ts';
import { pactQuantizer } from './pact.ts';
import { rangeLinearQuantizer } from './range_linear.ts';
import { recuQuantizer } from './recu.ts';
import { ttqQuantizer } from './ttq.ts';
import { wrpnQuantizer } from './wrpn.ts';
import { xnorQuantizer } from './xnor.ts';
import { xnorPlusPlusQuantizer } from './xnor_plus_plus.ts';

/** The quantizers that act while training. A new one is its file and one line here. */
export const learningKinds: readonly LearningKind[] = [
  rangeLinearQuantizer,
  dorefaQuantizer,
  wrpnQuantizer,
  pactQuantizer,
  lsqQuantizer,
  lsqPlusQuantizer,
  formatTrainer,
  ttqQuantizer,
  inqQuantizer,
  codebookQuantizer,
  binaryConnectQuantizer,
  xnorQuantizer,
  xnorPlusPlusQuantizer,
  biRealQuantizer,
  recuQuantizer,
];

export const learningPasses = learningKinds.map(learningPass);
