import { foldBatchNorm } from './fold/batchnorm.ts';
import { foldConstants } from './fold/constants.ts';
import { foldBias } from './fold/conv_add.ts';
import { foldIdentity } from './fold/identity.ts';
import { anyPass, type Pass } from './pass.ts';

/**
 * Every pass of qtool, in the order in which `qtool passes` lists them. A new pass is one import and one line here, then
 * `npm run schema`, so that editors know it.
 */
export const passes: readonly Pass[] = [
  anyPass(foldConstants),
  anyPass(foldIdentity),
  anyPass(foldBias),
  anyPass(foldBatchNorm),
];
