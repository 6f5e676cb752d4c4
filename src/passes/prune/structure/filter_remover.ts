import { remover } from './thinning.ts';

/** Cuts filters that are zero. */
export const filterRemover = remover(
  { name: 'prune/structure/filter_remover', distiller: 'FilterRemover', summary: 'cut filters that are zero' },
  ['out'],
);
