import type { TypedArray } from '../graph/dtype.ts';
import type { NodeProto } from '../graph/proto.ts';
import { layerName } from '../graph/query.ts';
import { given, must } from '../util/must.ts';
import type { GradientContext, GradientRule, Target } from './rule.ts';
import { flat } from './rules/none.ts';
import { operatorName, ruleOf } from './rules/index.ts';
import type { Surrogates } from './surrogate.ts';
import { add, type GraphWriter, type Value } from './writer.ts';

/** What is known of the forward graph: every value by name, and what constants hold. */
export interface Forward {
  readonly nodes: readonly NodeProto[];
  readonly values: ReadonlyMap<string, Value>;
  readonly constants: ReadonlyMap<string, TypedArray>;
  readonly target: Target;
  readonly surrogates?: Surrogates | undefined;
}

const surrogateOf = ({ surrogates }: Pick<Forward, 'surrogates'>, node: NodeProto) => surrogates?.get(node.output[0] ?? ''); // prettier-ignore

/** The values that a node's gradients are by. */
const readsOf = (forward: Pick<Forward, 'surrogates'>, node: NodeProto): readonly string[] =>
  surrogateOf(forward, node)?.inputs ?? node.input;

/** All values that follow small changes of the given ones. */
function reached(forward: Pick<Forward, 'nodes' | 'surrogates'>, from: Iterable<string>): Set<string> {
  const found = new Set(from);
  for (const node of forward.nodes) {
    if (flat.has(operatorName(node)) && !surrogateOf(forward, node)) continue;
    if (readsOf(forward, node).some((name) => found.has(name)))
      for (const name of node.output) if (name !== '') found.add(name);
  }
  return found;
}

function contextOf(
  node: NodeProto,
  forward: Forward,
  w: GraphWriter,
  moving: ReadonlySet<string>,
  gradient: (name: string) => Value | undefined,
): GradientContext {
  const { values, constants, target } = forward;
  const constant = (i: number) => constants.get(node.input[i] ?? '');
  return {
    node,
    w,
    target,
    x: (i) => must(values, node.input[i] ?? '', 'the shape of'),
    y: (i) => must(values, node.output[i] ?? '', 'the shape of'),
    has: (i) => (node.input[i] ?? '') !== '',
    dy: (i) => gradient(node.output[i] ?? ''),
    needs: (i) => moving.has(node.input[i] ?? ''),
    constant,
    numbers: (i) => {
      const data = constant(i);
      return data && Array.from(data as ArrayLike<number | bigint>, Number);
    },
  };
}

/** A node that gradients do not go through. */
export interface Blocked {
  readonly layer: string;
  readonly op: string;
  /** As the end of "it ...". */
  readonly why: string;
  /** What stands before it and is reached on no other way. */
  readonly lost: readonly string[];
}

/**
 * Which of some values a loss of the outputs has a gradient by, and which nodes stand in the way of the others.
 * @param wanted values to be trained.
 */
export function differentiable(
  forward: Forward,
  outputs: readonly string[],
  wanted: readonly string[],
  w: GraphWriter,
): { readonly found: ReadonlySet<string>; readonly blocked: readonly Blocked[] } {
  const moving = reached(forward, wanted);
  const live = new Set(outputs.filter((name) => moving.has(name)));
  const stops: { node: NodeProto; why: string }[] = [];
  for (const node of [...forward.nodes].reverse()) {
    if (!node.output.some((name) => live.has(name))) continue;
    const why = surrogateOf(forward, node) ? undefined : refusal(node, forward, w, moving);
    if (why !== undefined) stops.push({ node, why });
    else for (const name of readsOf(forward, node)) if (moving.has(name)) live.add(name);
  }
  const missing = wanted.filter((name) => !live.has(name));
  const blocked = stops.map(({ node, why }) => ({
    layer: layerName(node),
    op: operatorName(node),
    why,
    lost: missing.filter((name) => node.input.some((input) => reached(forward, [name]).has(input))),
  }));
  return { found: new Set(wanted.filter((name) => live.has(name))), blocked };
}

function refusal(node: NodeProto, forward: Forward, w: GraphWriter, moving: ReadonlySet<string>): string | undefined {
  const rule = ruleOf(node);
  if (!rule) return 'has no gradient rule';
  return rule.refuse?.(contextOf(node, forward, w, moving, () => undefined));
}

/**
 * The gradients of a loss by `wanted`, written behind the forward graph in reverse order.
 * @param seeds the gradients by the graph's outputs.
 */
export function backward(
  forward: Forward,
  w: GraphWriter,
  seeds: ReadonlyMap<string, Value>,
  wanted: readonly string[],
): Map<string, Value> {
  const moving = reached(forward, wanted);
  const parts = new Map<string, Value[]>();
  const put = (name: string, part: Value): void => void parts.set(name, [...(parts.get(name) ?? []), part]);
  for (const [name, seed] of seeds) put(name, seed);
  const total = (name: string): Value | undefined => {
    const list = parts.get(name);
    if (!list || list.length === 0) return undefined;
    const all = list.reduce((a, b) => add(w, a, b));
    parts.set(name, [all]);
    return all;
  };
  for (const node of [...forward.nodes].reverse()) {
    const surrogate = surrogateOf(forward, node);
    const reads = readsOf(forward, node);
    if (!node.output.some((name) => parts.has(name)) || !reads.some((name) => moving.has(name))) continue;
    if (flat.has(operatorName(node)) && !surrogate) continue;
    if (!node.output.some((name) => total(name))) continue;
    const gradients = surrogate
      ? surrogate.gradient(w, given(total(node.output[0] ?? ''), 'the gradient of a surrogate'), (i) => moving.has(reads[i] ?? '')) // prettier-ignore
      : ruled(node).gradient(contextOf(node, forward, w, moving, total));
    for (const [i, name] of reads.entries()) {
      if (!moving.has(name)) continue;
      put(name, given(gradients[i], `the gradient of ${layerName(node)} by its input ${i}`));
    }
  }
  return new Map(wanted.flatMap((name) => { const all = total(name); return all ? [[name, all] as const] : []; })); // prettier-ignore
}

const ruled = (node: NodeProto): GradientRule => given(ruleOf(node), `a gradient rule of ${operatorName(node)}`);

/**
 * The nodes behind a forward graph in the order that keeps the fewest buffers: first those that need only forward values, then those that
 * need a seed. onnxruntime runs a node's inputs from the last one listed on, so that the first ones run just before their readers.
 */
export function inOrder(nodes: readonly NodeProto[], seeds: Iterable<string>): NodeProto[] {
  const late = new Set(seeds);
  const [early, rest]: [NodeProto[], NodeProto[]] = [[], []];
  for (const node of nodes) {
    const waits = node.input.some((name) => late.has(name)) || node.output.some((name) => late.has(name));
    if (waits) for (const name of node.output) late.add(name);
    (waits ? rest : early).push(node);
  }
  return [...early, ...rest];
}
