import { levelPruner } from '../../../src/passes/prune/level.ts';
import { floats, testContext } from '../../helpers/context.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';
import { everyOption, type Fixture } from './table.ts';

const calibration = [1, 2].map((seed) => ({ x: floats(noise(seed, 8 * 192), [8, 3, 8, 8]) }));
const pruned: Fixture = async () => {
  const reference = smallConvNet();
  const context = testContext({ calibration, reference });
  return { model: (await levelPruner.apply(reference, { levels: { '*': 0.5 } }, context)).model, context };
};

describe('every option of training changes what it makes', () => {
  everyOption(/^train\//, {
    'train/finetune': {
      base: { epochs: 1 },
      on: pruned,
      options: { epochs: [1, 2], lr: [0.001, 0.002], samples: [8, 16], keep_zeros: [true, false] },
    },
  });
});
