import { foldAffine } from './fold/affine.ts';
import { foldBatchNorm } from './fold/batchnorm.ts';
import { foldConstants } from './fold/constants.ts';
import { foldIdentity } from './fold/identity.ts';
import { anyPass, type Pass } from './pass.ts';
import { levelPruner } from './prune/level.ts';
import { dynamicQuantizer } from './quantize/dynamic.ts';
import { staticQuantizer } from './quantize/static.ts';
import { weightsOnlyQuantizer } from './quantize/weights_only.ts';
import { adaround } from './recover/adaround.ts';

/**
 * Every pass of qtool, in the order in which `qtool passes` lists them. A new pass is one import and one line here, then
 * `npm run schema`, so that editors know it.
 */
export const passes: readonly Pass[] = [
  anyPass(foldConstants),
  anyPass(foldIdentity),
  anyPass(foldAffine),
  anyPass(foldBatchNorm),
  anyPass(levelPruner),
  anyPass(staticQuantizer),
  anyPass(dynamicQuantizer),
  anyPass(weightsOnlyQuantizer),
  anyPass(adaround),
];
