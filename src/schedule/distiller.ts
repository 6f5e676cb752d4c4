/** Distiller's class that qtool has not: told from a misspelt one. */
export const missingClasses: readonly string[] = ['StructureParameterPruner'];
