import type { RegularizerKind } from '../kinds.ts';
import { dropFilterRegularizer } from './drop_filter.ts';
import { groupLassoRegularizer } from './group_lasso.ts';
import { groupVarianceRegularizer } from './group_variance.ts';
import { l1Regularizer } from './l1.ts';
import { l2Regularizer } from './l2.ts';

/** The classes of `regularizers:`. */
export const regularizerKinds: readonly RegularizerKind[] = [
  l1Regularizer,
  l2Regularizer,
  groupLassoRegularizer,
  groupVarianceRegularizer,
  dropFilterRegularizer,
];
