import fc from '../../helpers/fc.ts';
import { edit } from '../../../src/graph/edit.ts';
import type { Model } from '../../../src/graph/model.ts';
import { renamed } from '../../../src/graph/tensor.ts';
import type { Feeds } from '../../../src/data/types.ts';
import type { Pass } from '../../../src/passes/pass.ts';
import { dynamicQuantizer } from '../../../src/passes/quantize/dynamic.ts';
import { float16Quantizer } from '../../../src/passes/quantize/float16.ts';
import { staticQuantizer } from '../../../src/passes/quantize/static.ts';
import { weightsOnlyQuantizer } from '../../../src/passes/quantize/weights_only.ts';
import { floats, runModel, testContext } from '../../helpers/context.ts';
import { takenNames } from '../../helpers/layouts.ts';
import { noise, smallConvNet } from '../../helpers/models.ts';

const feeds: Feeds = { x: floats(noise(100, 4 * 192), [4, 3, 8, 8]) };

/** The model with its initializers and inner values under other names. */
function withNames(model: Model, names: ReadonlyMap<string, string>): Model {
  const nameOf = (name: string): string => names.get(name) ?? name;
  return edit(model, (draft) => {
    for (const tensor of model.graph.initializer) draft.removeInitializer(tensor.name);
    for (const tensor of model.graph.initializer) draft.add(nameOf(tensor.name), renamed(tensor, nameOf(tensor.name)));
    for (const node of draft.nodes())
      draft.update(node, { input: node.input.map(nameOf), output: node.output.map(nameOf) });
  });
}

describe('the names of a model', () => {
  const model = smallConvNet();
  const inner = [
    ...model.graph.initializer.map((t) => t.name),
    ...model.graph.node.flatMap((node) => node.output).filter((name) => name !== 'y'),
  ];
  // Every name that a quantizer could give to something of its own, for every value there is.
  const derived = inner.flatMap((name) => takenNames.filter((t) => t !== '').map((suffix) => `${name}${suffix}`));
  const renaming = fc
    .shuffledSubarray(derived, { minLength: inner.length, maxLength: inner.length })
    .map((to) => new Map(inner.map((name, i) => [name, to[i] as string])));

  it.each([
    ['static', staticQuantizer, {}],
    ['dynamic', dynamicQuantizer, {}],
    ['weights only', weightsOnlyQuantizer, { bits_weights: 4, weights_symmetric: false }],
    ['float16', float16Quantizer, {}],
  ] as const)('change nothing of what the %s quantizer computes', async (_, pass, options) => {
    const outputs = async (m: Model): Promise<unknown> => {
      const context = testContext({ calibration: [feeds], reference: m });
      const result = await (pass as Pass).apply(m, (pass as Pass).options.parse(options), context);
      return (await runModel(result.model, feeds))['y']?.data;
    };
    const expected = await outputs(model);
    await fc.assert(
      fc.asyncProperty(renaming, async (names) => {
        expect(await outputs(withNames(model, names))).toEqual(expected);
      }),
      { numRuns: 8, seed: 3, endOnFailure: true },
    );
  });
});
