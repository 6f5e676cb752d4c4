import { attribute, makeAttribute, stringAttribute } from '../attribute.ts';
import { dimsOf, elementCount, tensorNumbers } from '../tensor.ts';
import type { Adapter } from './site.ts';

/** Upsample 7 → 9: the scales became an input. */
export const upsample9: Adapter = (node, site) => {
  const scales = Float32Array.from(attribute(node, 'scales')?.floats ?? []);
  return {
    fields: {
      input: [node.input[0] ?? '', site.constant(`${node.output[0]}_scales`, 'float32', [scales.length], scales)],
      attribute: node.attribute.filter((a) => a.name !== 'scales'),
    },
  };
};

/** Upsample 9 → Resize 10, which computes the same. */
export const upsample10: Adapter = () => ({ fields: { op_type: 'Resize' } });

/**
 * Resize 10 → 11. Positions were x / scale ("asymmetric"). Which neighbour `nearest` takes the text of opset 10 left open;
 * onnxruntime took the lower one along enlarged axes and the upper one along shrunk axes, and one rounding mode stands for all.
 */
export const resize11: Adapter = (node, site) => {
  const roi = site.constant(`${node.output[0]}_roi`, 'float32', [0], new Float32Array(0));
  const written = [...node.attribute, makeAttribute('coordinate_transformation_mode', 'asymmetric')];
  const fields = { input: [node.input[0] ?? '', roi, node.input[1] ?? ''], attribute: written };
  if (stringAttribute(node, 'mode', 'nearest') !== 'nearest') return { fields };
  const scales = site.tensor(node.input[1] ?? '');
  if (!scales)
    return site.refuse(
      'its scales are computed, and enlarging and shrinking round differently',
      'run the pass FoldConstants first, or export with opset 11 or newer',
    );
  const values = tensorNumbers(scales);
  const shrinks = values.some((s) => s < 1);
  if (shrinks && values.some((s) => s > 1)) site.refuse('it enlarges one axis and shrinks another');
  return { fields: { ...fields, attribute: [...written, makeAttribute('nearest_mode', shrinks ? 'ceil' : 'floor')] } };
};

/**
 * tf_half_pixel_for_nn (gone at 13) puts positions half a pixel above half_pixel's, so rounding moves by one half: with
 * v = u + 1/2, floor(v) is u rounded half up, and v rounded half down is ceil(u).
 */
const halfAbove: Readonly<Record<string, string>> = { floor: 'round_prefer_ceil', round_prefer_floor: 'ceil' };

/** Resize 11 → 13: unused inputs may be absent and are; one coordinate mode is gone. */
export const resize13: Adapter = (node, site) => {
  const [x = '', ...rest] = node.input;
  const empty = (name: string): boolean => {
    const tensor = site.tensor(name);
    return tensor !== undefined && elementCount(dimsOf(tensor)) === 0;
  };
  const input = [x, ...rest.map((name) => (empty(name) ? '' : name))];
  if (stringAttribute(node, 'coordinate_transformation_mode', 'half_pixel') !== 'tf_half_pixel_for_nn')
    return input.every((name, i) => name === node.input[i]) ? undefined : { fields: { input } };
  const nearest = stringAttribute(node, 'nearest_mode', 'round_prefer_floor');
  const now = halfAbove[nearest];
  if (stringAttribute(node, 'mode', 'nearest') !== 'nearest' || !now)
    return site.refuse(`coordinates "tf_half_pixel_for_nn" with nearest_mode "${nearest}" are gone`);
  const others = node.attribute.filter((a) => !['coordinate_transformation_mode', 'nearest_mode'].includes(a.name));
  const mode = makeAttribute('coordinate_transformation_mode', 'half_pixel');
  return { fields: { input, attribute: [...others, mode, makeAttribute('nearest_mode', now)] } };
};
