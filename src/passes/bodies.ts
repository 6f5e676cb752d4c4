import type { Feeds, Tensor } from '../data/types.ts';
import { withOutputs } from '../graph/edit.ts';
import type { Model } from '../graph/model.ts';
import { productOf } from '../graph/ops.ts';
import type { GraphProto } from '../graph/proto.ts';
import { captured, constantTensor, everyNode, initializers, producers, subgraphs } from '../graph/query.ts';
import type { Shapes } from '../graph/shapes.ts';
import { dimsOf, elementCount, tensorData, typeOf } from '../graph/tensor.ts';
import type { AnyFold } from '../numerics/fold.ts';
import { given, must } from '../util/must.ts';
import { bodyFeeds, type BodyFeeds } from './body_feeds.ts';
import { bodyModel, placeIn, placeName, places, withBody, type BodyModel, type Place } from './body_model.ts';
import { innerNotes } from './inner_notes.ts';
import type { Note, Pass, PassContext, PassResult } from './pass.ts';

/**
 * A pass that works in the bodies of If, Loop and Scan too, whatever their depth: each body is given to it as a model of its own, with what
 * goes into it on calibration data, and what comes out stands in its place. One that says nothing of bodies leaves them alone, and says so.
 */
export function throughBodies(pass: Pass): Pass {
  if (!pass.inBodies) return outsideOnly(pass);
  return { ...pass, apply: (model, options, ctx) => applyThrough(pass, model, options, ctx) };
}

/** Each layer in a body has its note of a pass that does not work there. Folds are no work on layers: nobody expects one of them to be changed. */
function outsideOnly(pass: Pass): Pass {
  if (pass.name.startsWith('fold/')) return pass;
  return {
    ...pass,
    async apply(model, options, ctx) {
      const done = await pass.apply(model, options, ctx);
      const told = new Set(done.skipped.map(({ layer }) => layer));
      return { ...done, skipped: [...done.skipped, ...innerNotes(model).filter(({ layer }) => !told.has(layer))] };
    },
  };
}

async function applyThrough(pass: Pass, model: Model, options: unknown, ctx: PassContext): Promise<PassResult> {
  let now = await pass.apply(model, options, ctx);
  if (now.failed !== undefined) return now;
  // A quantizer's twin is the float model with the names of the result: what goes into bodies is taken from there.
  const source = (pass.section === 'quantizers' && now.twin) || now.model;
  const found = places(source).filter(({ body }) => holdsWeights(body, source));
  if (found.length === 0) return now;
  const shapes = await ctx.shapes(source);
  for (const place of found) {
    ctx.signal.throwIfAborted();
    now = await inPlace(pass, source, place, options, ctx, now, shapes);
  }
  return now;
}

/** Elements of a stored tensor from which on it is worth looking into a body that has no layer. */
const worth = 64;

/** Whether there is anything in a body for a pass: a layer, or a tensor of some size. */
function holdsWeights(body: GraphProto, around: Model): boolean {
  const nodes = [...everyNode(body)];
  const read = captured(body);
  const tensors = [
    ...[body, ...nodes.flatMap(subgraphs)].flatMap(({ initializer }) => initializer),
    ...nodes.flatMap((node) => constantTensor(node) ?? []),
    ...around.graph.initializer.filter(({ name }) => read.has(name)),
  ];
  return (
    nodes.some((node) => (productOf(node)?.as ?? 'Gather') !== 'Gather') ||
    tensors.some((tensor) => elementCount(dimsOf(tensor)) >= worth)
  );
}

async function inPlace(
  pass: Pass,
  source: Model,
  place: Place,
  options: unknown,
  ctx: PassContext,
  before: PassResult,
  shapes: Shapes,
): Promise<PassResult> {
  const name = placeName(place);
  const feeds = bodyFeeds(source, place, ctx);
  const first = await firstOf(feeds.seen, ctx);
  const any = first.feeds ?? (await firstOf(() => feeds.around, ctx)).feeds;
  const from = bodyModel(source, place, new Map([...shapes, ...Object.entries(any ?? {})]));
  if (!from) {
    const text = 'what lies in it is left as it is: it reads a value that is no tensor, or of a type that is not known';
    return { ...before, skipped: [...before.skipped, { layer: name, text }] };
  }
  const inner = bodyContext(from, feeds.seen, { first: any, reached: first.feeds !== undefined }, ctx, (body) =>
    withBody(before.model, from, body),
  );
  const own = pass.inBodies?.options?.(options) ?? options;
  const unseen = first.feeds ? undefined : pass.inBodies?.unseen?.(own);
  const apply = unseen ? unseen.apply : (body: Model, inside: PassContext) => applyThrough(pass, body, own, inside);
  const result = await apply(from.model, inner);
  const said = (notes: readonly Note[]): Note[] =>
    notes.map(({ layer, text }) => ({ layer, text: `in ${name}: ${text}` }));
  const why = unseen ? [`${name}: ${first.why}; ${unseen.text}`] : [];
  const done = result.changed.length > 0;
  return {
    ...before,
    model: done ? withBody(before.model, from, result.model) : before.model,
    ...(before.twin && result.twin && done ? { twin: withBody(before.twin, from, result.twin) } : {}),
    changed: [...before.changed, ...said(result.changed)],
    skipped: [...before.skipped.filter(({ layer }) => !layer.startsWith(`${name} / `)), ...said(result.skipped)],
    notes: [...(before.notes ?? []), ...why, ...(result.notes ?? []).map((note) => `in ${name}: ${note}`)],
    ...(result.held ? { held: new Map([...(before.held ?? []), ...result.held]) } : {}),
    ...(result.masks ? { masks: new Map([...result.masks, ...(before.masks ?? [])]) } : {}),
  };
}

/** Samples that are run to see whether any reaches a body. */
const looked = 512;

/** What goes into a body first; or why nothing does. */
async function firstOf(
  feeds: BodyFeeds['seen'],
  ctx: PassContext,
): Promise<{ readonly feeds?: Feeds; readonly why: string }> {
  try {
    for await (const one of feeds(looked)) return { feeds: one, why: '' };
  } catch (error) {
    ctx.signal.throwIfAborted();
    const [line = ''] = (error instanceof Error ? error.message : String(error)).split('\n');
    return { why: `what goes into it cannot be looked at (${line})` };
  }
  return { why: 'no calibration sample reaches it' };
}

/** What a pass may ask while it works in a body. */
function bodyContext(
  { model, place }: BodyModel,
  feeds: BodyFeeds['seen'],
  { first, reached }: { readonly first: Feeds | undefined; readonly reached: boolean },
  ctx: PassContext,
  whole: (body: Model) => Model,
): PassContext {
  const name = placeName(place);
  const like = (other: Model): Model | undefined => {
    const there = placeIn(other, place);
    return there && bodyModel(other, there, new Map(Object.entries(first ?? {})))?.model;
  };
  const capture: PassContext['capture'] = async function* (body, values, samples) {
    const made = producers(body.graph);
    const stored = initializers(body.graph);
    const computed = values.filter((value) => made.has(value));
    const exposed = withOutputs(body, computed);
    for await (const fed of feeds(samples)) {
      const results = computed.length > 0 ? await ctx.compute(exposed, inputsOf(exposed, fed)) : {};
      yield Object.fromEntries(
        values.map((value) => {
          const constant = stored.get(value);
          const tensor = results[value] ?? fed[value] ?? (constant && tensorOf(constant));
          return [value, given(tensor, `the value "${value}"`)];
        }),
      );
    }
  };
  const context: Omit<PassContext, 'reference'> = {
    ...within(ctx),
    twin: ctx.twin && like(ctx.twin),
    memory: below(ctx.memory, name),
    ...(ctx.cache ? { cache: below(ctx.cache, name) } : {}),
    capture,
    async shapes(body, fed = first) {
      // What lies around a body that is not reached tells types and ranks; where it does not run on that, only what is stored is known.
      const asked = fed && ctx.shapes(body, inputsOf(body, fed));
      const seen = await (reached ? asked : asked?.catch(() => undefined));
      ctx.signal.throwIfAborted();
      return (
        seen ??
        new Map(body.graph.initializer.map((tensor) => [tensor.name, { type: typeOf(tensor), dims: dimsOf(tensor) }]))
      );
    },
    async collect<R>(body: Model, wanted: ReadonlyMap<string, readonly AnyFold<Tensor, R>[]>, samples?: number) {
      const states = new Map([...wanted].map(([value, folds]) => [value, folds.map((fold) => fold.start())]));
      for await (const values of capture(body, [...wanted.keys()], samples))
        for (const [value, folds] of wanted) {
          const state = must(states, value, 'the folds of');
          folds.forEach((fold, i) => (state[i] = fold.add(state[i], given(values[value], value))));
        }
      return new Map(
        [...wanted].map(([value, folds]) => [value, folds.map((fold, i) => fold.finish(states.get(value)?.[i]))]),
      );
    },
    measure: (body) => ctx.measure(whole(body)),
  };
  return Object.defineProperty(context, 'reference', { get: () => like(ctx.reference) ?? model }) as PassContext;
}

/** The rest of a context. Its `reference` may be a question that only some may ask, so it is not copied. */
function within(ctx: PassContext): Omit<PassContext, 'reference'> {
  const { plan, clock, signal, training, lesson, device } = ctx;
  return {
    ...{ plan, clock, signal },
    ...(training ? { training } : {}),
    ...(lesson ? { lesson } : {}),
    ...(device ? { device } : {}),
    twin: undefined,
    memory: new Map(),
    compute: (graph, feeds, on) => ctx.compute(graph, feeds, on),
    shapes: (model, feeds) => ctx.shapes(model, feeds),
    collect: (...asked) => ctx.collect(...asked),
    capture: (...asked) => ctx.capture(...asked),
    measure: (model) => ctx.measure(model),
    progress: (done, doing) => ctx.progress(done, doing),
  };
}

/** What a form of a body takes of what goes into it: one that was changed may not read all of it. */
const inputsOf = (body: Model, fed: Feeds): Feeds =>
  Object.fromEntries(body.graph.input.flatMap(({ name }) => (fed[name] ? [[name, fed[name]]] : [])));

/** What is remembered for one body. */
function below(memory: Map<string, unknown>, name: string): Map<string, unknown> {
  const own = memory.get(name);
  // A copy: what a try remembers that comes to nothing goes with it.
  const made = new Map<string, unknown>(own instanceof Map ? (own as Map<string, unknown>) : []);
  memory.set(name, made);
  return made;
}

const tensorOf = (tensor: Parameters<typeof dimsOf>[0]): Tensor => ({
  type: typeOf(tensor),
  dims: dimsOf(tensor),
  data: tensorData(tensor),
});
