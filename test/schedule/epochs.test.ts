import fc from '../helpers/fc.ts';
import { expandEpochs } from '../../src/schedule/epochs.ts';

describe('the epochs of a policy', () => {
  it('are every frequency-th of the window, its end not included', () => {
    fc.assert(
      fc.property(
        fc.nat(50),
        fc.integer({ min: 1, max: 60 }),
        fc.integer({ min: 1, max: 70 }),
        (start, span, every) => {
          const result = expandEpochs({ starting_epoch: start, ending_epoch: start + span, frequency: every });
          // A clock that ticks epoch by epoch, as Distiller's does.
          const ticked = [];
          for (let epoch = 0; epoch < start + span; epoch++)
            if (epoch >= start && (epoch - start) % every === 0) ticked.push(epoch);
          if (every > span && span > 1) expect(result).toHaveProperty('problems');
          else expect(result).toEqual({ when: { epochs: ticked, start, end: start + span, frequency: every } });
        },
      ),
    );
  });

  it('listed are sorted, their window ends after the last, their step divides every gap', () => {
    expect(expandEpochs({ epochs: [10, 2, 6] })).toEqual({
      when: { epochs: [2, 6, 10], start: 2, end: 11, frequency: 4 },
    });
    expect(expandEpochs({ epochs: [7] })).toEqual({ when: { epochs: [7], start: 7, end: 8, frequency: 1 } });
  });

  it('are one where only the start is said', () => {
    expect(expandEpochs({ starting_epoch: 3 })).toEqual({ when: { epochs: [3], start: 3, end: 4, frequency: 1 } });
  });
});
