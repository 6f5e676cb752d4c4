import { binaryMethod, signOptions } from './binary_connect.ts';
import { learningKind } from './kind.ts';
import { signWeights } from './sign.ts';

export const xnorPlusPlusQuantizer = learningKind({
  name: 'train/surrogate/xnor_plus_plus',
  classes: ['XNORPlusPlusQuantizer'],
  summary: 'weights of −α and α, α of each output channel learned',
  source: 'Bulat and Tzimiropoulos 2019, XNOR-Net++ (arXiv 1909.13863)',
  options: signOptions,
  method: () => binaryMethod(() => signWeights('learned', 'bounded'), 'window'),
});
