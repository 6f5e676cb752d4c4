import { makeModel, makeNode, makeValue } from '../../graph/build.ts';
import { edit } from '../../graph/edit.ts';
import { modelBytes } from '../../graph/file.ts';
import type { Layer } from '../../graph/layer.ts';
import type { Model } from '../../graph/model.ts';
import type { FormatCodes } from '../../numerics/formats/apply.ts';
import { encoder } from '../encode/encode.ts';
import type { PassContext } from '../pass.ts';
import { storeFormat } from '../quantize/stored_format.ts';

/**
 * Bytes by which a packed file grows with a weight in a format: its codes, scales, tables and what decodes them, as FormatQuantizer stores and
 * `WeightEncoder` packs them. Written, not estimated: once in a model of this weight, once with another like it beside, and the difference is
 * what one more costs where decoders share tables and tensors that are alike are packed as one.
 */
export async function formatBytes(layer: Layer, codes: FormatCodes, opset: number, ctx: PassContext): Promise<number> {
  const held = [codes, alike(codes)];
  const bytesOf = async (count: number): Promise<number> => {
    const names = held.map((_, i) => `w${i}`);
    const bare = makeModel({
      opset,
      inputs: [makeValue('x', 'float32', [1])],
      outputs: names.map((name) => makeValue(name, 'float32')),
      nodes: [],
      initializers: [],
    });
    const stored = edit(bare, (draft) => {
      for (const [i, name] of names.entries()) {
        const from = i < count ? storeFormat(draft, 'held', layer.weight, held[i]!) : 'x';
        draft.addNode(makeNode('Identity', [from], [name]));
      }
    });
    return modelBytes(await packed(stored, ctx));
  };
  return (await bytesOf(2)) - (await bytesOf(1));
}

/** The model as `WeightEncoder` writes it. */
export async function packed(model: Model, ctx: PassContext, options: object = {}): Promise<Model> {
  return (await encoder.apply(model, encoder.options.parse(options), ctx)).model;
}

/** Other codes as often as these, with parameters of their own where those are a weight's own: what another layer is. */
function alike({ codes, groups, ...rest }: FormatCodes): FormatCodes {
  const { format } = rest;
  const usual = format.fit(Float32Array.of(1), { signed: true, largest: 1 }).set.levels;
  const levels = new Map(groups.map(({ set }) => [set.levels, set.levels.map((level) => 2 * level)]));
  return {
    ...rest,
    codes: codes.slice().reverse(),
    groups: groups
      .map(({ set, scale }) =>
        set.levels === usual ? { set, scale: 2 * scale } : { set: { levels: levels.get(set.levels)! }, scale },
      )
      .reverse(),
  };
}
