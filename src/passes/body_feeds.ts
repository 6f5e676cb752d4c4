import type { Feeds, Tensor } from '../data/types.ts';
import { makeNode } from '../graph/build.ts';
import { edit } from '../graph/edit.ts';
import type { Model } from '../graph/model.ts';
import { GraphCodec, ValueInfoCodec } from '../graph/proto.ts';
import { captured, initializers, isOp } from '../graph/query.ts';
import { given } from '../util/must.ts';
import { withAttribute, type Place } from './body_model.ts';
import type { PassContext } from './pass.ts';

/** What a body is given on calibration data: its inputs and what it reads from outside, run by run. */
export interface BodyFeeds {
  readonly seen: (samples?: number) => AsyncIterable<Feeds>;
  /** What lies around it, whether or not it is reached: enough to tell types and ranks. */
  readonly around: AsyncIterable<Feeds>;
}

/** Looks at what goes into a body of a model. A branch is given what comes while it is taken, a loop's body each of its iterations. */
export function bodyFeeds(model: Model, place: Place, ctx: Pick<PassContext, 'capture'>): BodyFeeds {
  const stored = initializers(model.graph);
  const outside = [...captured(place.body)].filter((name) => !stored.has(name));
  const seen = isOp(place.node, 'If') ? branchFeeds(model, place, outside, ctx) : loopFeeds(model, place, outside, ctx);
  return { seen, around: ctx.capture(model, outside, 1) };
}

const branchFeeds = (
  model: Model,
  { node, attribute }: Place,
  outside: readonly string[],
  ctx: Pick<PassContext, 'capture'>,
): BodyFeeds['seen'] =>
  // prettier-ignore
  async function* (samples) {
    const condition = node.input[0] ?? '';
    for await (const values of ctx.capture(model, [...new Set([condition, ...outside])], samples)) {
      const taken = Number(given(values[condition], condition).data[0]) !== 0;
      if (taken === (attribute === 'then_branch')) yield pick(values, outside);
    }
  };

/** The inputs of every iteration come out of the loop as outputs of it: what a body gives beyond its states is put together over them. */
function loopFeeds(
  model: Model,
  place: Place,
  outside: readonly string[],
  ctx: Pick<PassContext, 'capture'>,
): BodyFeeds['seen'] {
  // prettier-ignore
  const { node, body } = place;
  const taps: { readonly input: string; readonly output: string }[] = [];
  const tapped = edit(model, (draft) => {
    const more = body.input.map(({ name }) => {
      const [inner, output] = [draft.freshName(`${name}_tap`), draft.freshName(`${name}_all`)];
      taps.push({ input: name, output });
      return { name, inner };
    });
    const graph = GraphCodec.amend(body, {
      node: [...body.node, ...more.map(({ name, inner }) => makeNode('Identity', [name], [inner]))],
      output: [...body.output, ...more.map(({ inner }) => ValueInfoCodec.create({ name: inner }))],
    });
    // A Loop's body gives its condition first, which the node does not.
    const outputs = body.output.length - (isOp(node, 'Loop') ? 1 : 0);
    const known = Array.from({ length: outputs }, (_, i) => node.output[i] ?? '');
    const all = known.map((name) => (name === '' ? draft.freshName('unread') : name));
    const attribute = withAttribute(place, graph).map((one) =>
      one.name.startsWith('scan_output_') ? { ...one, ints: [...one.ints, ...taps.map(() => zero)] } : one,
    );
    draft.update(node, { attribute, output: [...all, ...taps.map(({ output }) => output)] });
  });
  return async function* (samples) {
    for await (const values of ctx.capture(tapped, [...taps.map(({ output }) => output), ...outside], samples)) {
      const runs = given(values[taps[0]?.output ?? ''], 'the iterations').dims[0] ?? 0;
      for (let run = 0; run < runs; run++)
        yield {
          ...pick(values, outside),
          ...Object.fromEntries(taps.map(({ input, output }) => [input, slice(given(values[output], output), run)])),
        };
    }
  };
}

const zero = { low: 0, high: 0, unsigned: false };

const pick = (values: Feeds, names: readonly string[]): Feeds =>
  Object.fromEntries(names.map((name) => [name, given(values[name], name)]));

/** One of a tensor along its first axis. */
function slice({ type, dims: [, ...dims], data }: Tensor, at: number): Tensor {
  const size = dims.reduce((a, b) => a * b, 1);
  return { type, dims, data: data.slice(at * size, (at + 1) * size) };
}
