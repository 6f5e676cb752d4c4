import { binaryMethod, signOptions } from './binary_connect.ts';
import { learningKind } from './kind.ts';
import { signWeights } from './sign.ts';

export const xnorQuantizer = learningKind({
  name: 'train/surrogate/xnor',
  classes: ['XNORQuantizer'],
  summary: 'weights of −α and α, α the mean magnitude of each output channel; with bits_activations: 1 XNOR-Net',
  source: 'Rastegari et al. 2016, XNOR-Net (arXiv 1603.05279)',
  options: signOptions,
  method: () => binaryMethod(() => signWeights('mean', 'xnor'), 'window'),
});
