import { readFileSync } from 'node:fs';
import type { LrKind, LrPoint } from '../../../../src/passes/train/kinds.ts';
import { lrKinds } from '../../../../src/passes/train/lr/index.ts';
import fc from '../../../helpers/fc.ts';

const golden = JSON.parse(readFileSync(new URL('../goldens/learning_rates.json', import.meta.url), 'utf8')) as {
  readonly base: number;
  readonly losses: readonly number[];
  readonly cases: readonly { readonly class: string; readonly options: Record<string, unknown>; readonly rates: number[] }[];
}; // prettier-ignore

const kindOf = (name: string): LrKind => lrKinds.find(({ classes }) => classes.includes(name))!;

function rate(name: string, given: Record<string, unknown>, point: Partial<LrPoint>): number {
  const kind = kindOf(name);
  return kind.at(kind.options.parse(given), { base: 0.1, epoch: 0, epochs: 30, steps: 10, losses: [], ...point });
}

describe('a learning rate', () => {
  it.each(golden.cases.map((one) => [one.class, JSON.stringify(one.options), one] as const))(
    "%s %s is PyTorch's",
    (name, _, { options, rates }) => {
      const steps = Number(options['steps_per_epoch'] ?? 1);
      const found = rates.map((__, i) => rate(name, options, { epoch: i / steps, losses: golden.losses.slice(0, i) }));
      // PyTorch multiplies from epoch to epoch: a rounding a time.
      found.forEach((value, i) => expect(Math.abs(value - rates[i]!)).toBeLessThan(1e-12));
    },
  );

  it('of a factor for each milestone is their product', () => {
    const options = { milestones: [1, 3, 4], gammas: [0.5, 0.1, 10] };
    const found = [0, 1, 2, 3, 4, 9].map((epoch) => rate('MultiStepMultiGammaLR', options, { epoch }) / 0.1);
    [1, 0.5, 0.5, 0.05, 0.5, 0.5].forEach((value, i) => expect(found[i]).toBeCloseTo(value, 12));
  });

  it('falls along a polynomial to 0 and stays there', () => {
    const found = [0, 2, 4, 5, 9].map((epoch) => rate('PolynomialLR', { T_max: 4, power: 2 }, { epoch }));
    [0.1, 0.025, 0, 0, 0].forEach((value, i) => expect(found[i]).toBeCloseTo(value, 12));
  });

  it('of one cycle without a length takes the policy, step by step', () => {
    const options = { max_lr: 1 };
    const kind = kindOf('OneCycleLR');
    expect(kind.everyStep?.(kind.options.parse(options))).toBe(true);
    const whole = golden.cases.find((one) => one.options['total_steps'] === 20)!.rates;
    const found = whole.map((_, i) => rate('OneCycleLR', options, { epoch: i / 10, epochs: 2 }));
    found.forEach((value, i) => expect(value * 0.3).toBeCloseTo(whole[i]!, 12));
    // Behind its end the last rate stays.
    expect(rate('OneCycleLR', options, { epoch: 5, epochs: 2 })).toBeCloseTo(found.at(-1)!, 12);
  });

  it('in cycles of steps is that of epochs, a step for an epoch', () => {
    const options = { base_lr: 0.01, max_lr: 0.2, step_size_up: 3, step_size_down: 5 };
    const { rates } = golden.cases.find((one) => one.options['step_size_down'] === 5)!;
    rates.forEach((value, i) =>
      expect(rate('CyclicLR', { ...options, per_step: true }, { epoch: i / 10 })).toBeCloseTo(value, 12),
    );
  });

  it('begins behind last_epoch', () => {
    for (const epoch of [0, 1, 5])
      expect(rate('StepLR', { step_size: 3, last_epoch: 4 }, { epoch })).toBe(
        rate('StepLR', { step_size: 3 }, { epoch: epoch + 5 }),
      );
  });

  it('warms up step by step from a tenth of itself', () => {
    const options = { step_size: 3, warmup_epochs: 2 };
    expect(kindOf('StepLR').everyStep?.(kindOf('StepLR').options.parse(options))).toBe(true);
    const found = [0, 0.5, 1, 1.5, 2, 3].map((epoch) => rate('StepLR', options, { epoch }));
    [0.01, 0.0325, 0.055, 0.0775, 0.1, 0.01].forEach((value, i) => expect(found[i]).toBeCloseTo(value, 12));
  });

  it('that is a curve follows it within an epoch only where that is asked for', () => {
    const at = (per_step: boolean) => rate('CosineAnnealingLR', { T_max: 4, per_step }, { epoch: 1.5 });
    expect(at(false)).toBe(rate('CosineAnnealingLR', { T_max: 4 }, { epoch: 1 }));
    expect(at(true)).toBeCloseTo((0.1 * (1 + Math.cos((Math.PI * 3) / 8))) / 2, 12);
  });

  const smallest: Record<string, Record<string, unknown>> = {
    StepLR: { step_size: 2 },
    MultiStepLR: { milestones: [1] },
    MultiStepMultiGammaLR: { milestones: [1], gammas: [0.1] },
    ExponentialLR: { gamma: 0.9 },
    CosineAnnealingLR: { T_max: 5 },
    CosineAnnealingWarmRestarts: { T_0: 2 },
    CyclicLR: { base_lr: 0.1, max_lr: 0.2 },
    OneCycleLR: { max_lr: 0.1 },
    PolynomialLR: { T_max: 5, power: 1 },
    ReduceLROnPlateau: {},
  };

  it('is there for each class that schedules may name', () => {
    expect(lrKinds.map(({ classes }) => classes[0]).sort()).toEqual(Object.keys(smallest).sort());
  });

  it.each(Object.entries(smallest))('%s is a number from 0 up whatever the epoch', (name, options) => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 400 }),
        fc.integer({ min: 0, max: 9 }),
        fc.array(fc.double({ min: 0, max: 9, noNaN: true }), { maxLength: 40 }),
        (epoch, step, losses) => {
          const found = rate(name, options, { epoch: epoch + step / 10, losses });
          expect(found).toBeGreaterThanOrEqual(0);
          expect(found).toBeLessThanOrEqual(0.2);
        },
      ),
    );
  });

  it('takes the arguments that Distiller and PyTorch give', () => {
    const given: Record<string, Record<string, unknown>> = {
      ReduceLROnPlateau: { mode: 'min', factor: 0.5, patience: 2, threshold: 0, threshold_mode: 'abs', cooldown: 1, min_lr: [1e-5], eps: 0 }, // prettier-ignore
      CyclicLR: { base_lr: [0.1], max_lr: [0.2], step_size_down: null, scale_mode: 'cycle', cycle_momentum: false, base_momentum: 0.8, max_momentum: [0.9] }, // prettier-ignore
      OneCycleLR: { max_lr: [0.1], total_steps: null, epochs: 2, steps_per_epoch: 3, cycle_momentum: false, base_momentum: 0.8, max_momentum: 0.9 }, // prettier-ignore
    };
    for (const [name, options] of Object.entries(smallest))
      for (const one of [options, { ...options, ...given[name], last_epoch: -1, verbose: true }]) {
        expect(kindOf(name).options.safeParse(one).success).toBe(true);
      }
    expect(kindOf('StepLR').options.safeParse({ step_size: 0 }).success).toBe(false);
    expect(
      kindOf('MultiStepMultiGammaLR').options.safeParse({ milestones: [1, 2], gammas: [1] }).error?.issues[0]?.message,
    ).toBe('as many gammas as milestones are needed');
  });
});
