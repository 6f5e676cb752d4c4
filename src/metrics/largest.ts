import { pairs } from './compare.ts';
import { compared, type Metric } from './metric.ts';

interface Largest {
  samples: number;
  readonly byOutput: Map<string, number>;
}

const name = 'largest difference';

/** Largest absolute difference of an element of the outputs and the float model's, in the outputs' own unit; NaN where one of the two is none. */
export function largestDifference(): Metric<Largest> {
  return {
    name,
    needs: 'reference',
    perfect: 0,
    summary: "largest absolute difference of the outputs from the float model's",
    start: () => ({ samples: 0, byOutput: new Map() }),
    add(state, input) {
      for (const { output, own, wanted } of pairs(input, {}, name)) {
        let worst = state.byOutput.get(output) ?? 0;
        // Infinity in both is no difference; Math.max keeps NaN.
        for (let i = 0; i < own.length; i++)
          if (!Object.is(own[i], wanted[i])) worst = Math.max(worst, Math.abs(own[i]! - wanted[i]!));
        state.byOutput.set(output, worst);
      }
      state.samples += input.batch.count;
      return state;
    },
    finish({ samples, byOutput }) {
      const [value, perOutput] = [Math.max(0, ...byOutput.values()), Object.fromEntries(byOutput)];
      return compared({ name, value, unit: '', higherIsBetter: false, samples, perOutput }, 0);
    },
  };
}
