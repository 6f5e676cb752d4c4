import { binaryMethod, signOptions } from './binary_connect.ts';
import { learningKind } from './kind.ts';
import { signWeights } from './sign.ts';

export const biRealQuantizer = learningKind({
  name: 'train/surrogate/bi_real',
  classes: ['BiRealQuantizer'],
  summary:
    'signs whose gradients are nearer to the truth: by the magnitude of the weight, and by 2 − 2|x| for activations',
  source: 'Liu et al. 2018, Bi-Real Net (arXiv 1808.00278)',
  options: signOptions,
  method: () => binaryMethod(() => signWeights('mean', 'magnitude'), 'triangle'),
});
