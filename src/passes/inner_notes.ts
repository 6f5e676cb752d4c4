import { innerLayers } from '../graph/layer.ts';
import type { Model } from '../graph/model.ts';
import type { Note } from './pass.ts';

/** Layers inside of bodies and local functions, which a pass that knows only the main graph does not change, each with the way to it. */
export function innerNotes(model: Model): Note[] {
  return innerLayers(model).map(({ path, op }) => ({
    layer: path,
    text: `this ${op} lies inside a body or local function, where weights are left as they are`,
  }));
}
