import { add, div, mul, sum, unary, type GraphWriter, type Value } from '../../../autodiff/writer.ts';
import type { RegularizerKind } from '../kinds.ts';
import { groupAxes, groupMask, groupRegimes, groupStrengths, refuseGroups, type GroupStrengths } from './groups.ts';

/** The norm of each group, its axes kept as 1. */
export const norms = (w: GraphWriter, weight: Value, axes: readonly number[]): Value =>
  unary(w, 'Sqrt', sum(w, mul(w, weight, weight), axes, true));

/** A weight over the norms of its groups; 0 in a group of zeros, as in PyTorch. */
export const unit = (w: GraphWriter, weight: Value, norm: Value): Value =>
  div(w, weight, w.op('Max', [norm, w.scalar(1e-30)], norm.dims));

/**
 * Σ over the groups of ‖w_g‖₂, without a factor for the size of a group; its gradient is w / ‖w_g‖. Distiller adds 1e-8 under the root for
 * channels alone; here it is the same norm for all groups.
 */
export const groupLassoRegularizer: RegularizerKind<GroupStrengths> = {
  classes: ['GroupLassoRegularizer'],
  summary: 'pulls whole groups of weights towards 0 by the sum of their norms',
  source: 'Yuan and Lin 2006, Model selection and estimation in regression with grouped variables; Distiller',
  options: groupStrengths,
  regimes: groupRegimes,
  penalty(w, weight, regime) {
    const parts = groupAxes(regime, weight.dims.length).map((axes) => {
      const norm = norms(w, weight, axes);
      return { penalty: sum(w, norm, [...norm.dims.keys()]), gradient: unit(w, weight, norm) };
    });
    return parts.reduce((a, b) => ({
      penalty: add(w, a.penalty, b.penalty),
      gradient: add(w, a.gradient, b.gradient),
    }));
  },
  mask: (o, weight, dims, regime) =>
    o.threshold_criteria ? groupMask(weight, dims, regime, o.threshold_criteria) : undefined,
  refuse: refuseGroups,
};
