import * as z from 'zod';
import type { Model } from '../../graph/model.ts';
import type { NodeProto } from '../../graph/proto.ts';
import { layerName } from '../../graph/query.ts';
import type { Note, Pass, PassResult } from '../pass.ts';

/** A pass of this folder: it takes no options. */
export type FoldPass = Pass<Record<string, never>>;

export const foldPass = (
  facts: Pick<FoldPass, 'name' | 'classes' | 'summary' | 'apply'> & { readonly source?: string },
): FoldPass => ({ section: 'extensions', source: 'own', options: z.strictObject({}), ...facts });

/** The model without a node, and what the report says of it; or why the node stays. */
export type Folded = { readonly model: Model; readonly text: string } | string;

/** Folds nodes one after the other, each in the model that those before it gave. `fold` gives undefined where it has nothing to say. */
export function foldEach(
  model: Model,
  nodes: readonly NodeProto[],
  fold: (now: Model, node: NodeProto) => Folded | undefined,
): PassResult {
  const [changed, skipped]: [Note[], Note[]] = [[], []];
  let now = model;
  for (const node of nodes) {
    const result = fold(now, node);
    const layer = layerName(node);
    if (typeof result === 'string') skipped.push({ layer, text: result });
    else if (result) {
      now = result.model;
      changed.push({ layer, text: result.text });
    }
  }
  return { model: now, changed, skipped };
}
