import { remover } from './thinning.ts';

/** Cuts every channel that is zero or that only zero weights read. */
export const structureRemover = remover(
  {
    name: 'prune/structure/structure_remover',
    distiller: 'StructureRemover',
    summary: 'cut every channel that is zero or that only zero weights read',
  },
  ['out', 'in'],
);
