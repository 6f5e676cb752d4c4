import { elementCount } from '../../../graph/tensor.ts';
import { mul, scaled, sub, sum, unary } from '../../../autodiff/writer.ts';
import type { RegularizerKind } from '../kinds.ts';
import { norms, unit } from './group_lasso.ts';
import { groupAxes, groupMask, groupRegimes, groupStrengths, refuseGroups, type GroupStrengths } from './groups.ts';

/**
 * 1 / variance of the groups' norms n (divided by one less than their number): few strong groups are better than many alike. Its gradient is
 * −2 (n − mean n) / ((G − 1) variance²) · w / ‖w_g‖. Distiller has it for channels alone.
 */
export const groupVarianceRegularizer: RegularizerKind<GroupStrengths> = {
  classes: ['GroupVarianceRegularizer'],
  summary: 'drives the norms of groups apart, by the inverse of their variance',
  source: 'Torfi et al. 2018 (arXiv 1802.09902); Distiller',
  options: groupStrengths,
  regimes: groupRegimes,
  penalty(w, weight, regime) {
    const [axes = []] = groupAxes(regime, weight.dims.length);
    const norm = norms(w, weight, axes);
    const all = [...norm.dims.keys()];
    const count = elementCount(norm.dims);
    const apart = sub(w, norm, scaled(w, sum(w, norm, all), 1 / count));
    const variance = scaled(w, sum(w, mul(w, apart, apart), all), 1 / (count - 1));
    // Groups that are all alike have no direction in which to part; this keeps the number finite.
    const inverse = unary(w, 'Reciprocal', w.op('Max', [variance, w.scalar(1e-12)], []));
    const slope = mul(w, scaled(w, apart, -2 / (count - 1)), mul(w, inverse, inverse));
    return { penalty: inverse, gradient: mul(w, unit(w, weight, norm), slope) };
  },
  mask: (o, weight, dims, regime) =>
    o.threshold_criteria ? groupMask(weight, dims, regime, o.threshold_criteria) : undefined,
  refuse(dims, regime) {
    const refused = refuseGroups(dims, regime);
    if (refused !== undefined) return refused;
    const axes = groupAxes(regime, dims.length);
    const groups = elementCount(dims.filter((_, axis) => !axes[0]?.includes(axis)));
    if (axes.length > 1) return `the variance of groups "${regime.group}" is none: name one kind of group`;
    return groups < 2 ? `a weight of shape [${dims.join(', ')}] is one group "${regime.group}", which has no variance` : undefined; // prettier-ignore
  },
};
