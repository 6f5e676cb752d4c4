import * as z from 'zod';
import { edit, removeUnread, type Draft } from '../../graph/edit.ts';
import type { Model } from '../../graph/model.ts';
import { upgradeOpset } from '../../graph/opset.ts';
import type { TensorProto } from '../../graph/proto.ts';
import { opset } from '../../graph/query.ts';
import { QtoolError } from '../../util/error.ts';
import { withWidened } from '../fold/half.ts';
import type { Note, Pass, PassContext, PassResult } from '../pass.ts';
import { withSharedConstants } from './constants.ts';
import { decoderOpset } from './decoders.ts';
import { formNames } from './form.ts';
import { writeGroup } from './group.ts';
import { namesIn, shortened, shortNames, withNames, withoutTalk } from './names.ts';
import { planFor, type Plan, type Storage } from './plan.ts';
import { record, type Part } from './store.ts';
import { castTargets, findTargets, type Target } from './targets.ts';
import { differing } from './verify.ts';

const options = z.strictObject({
  forms: z
    .array(z.enum(formNames))
    .default([...formNames])
    .meta({ description: 'forms that may be used' }),
  names: z.enum(['short', 'keep']).default('short').meta({
    description: 'short: inner values get names of a letter or two; inputs, outputs and layers keep theirs',
  }),
  max_opset: z.int().min(decoderOpset).max(26).default(21).meta({
    description: 'newest operator set the model may be raised to, where that makes the weights 1 % smaller',
  }),
  load_memory: z.number().min(0).default(256).meta({
    description: 'MiB that decoding may take while a session is created; large models get forms that need less',
  }),
});

type EncodeOptions = z.infer<typeof options>;

/**
 * Stores weights packed, in the smallest form that is exact, and adds the standard operators that unpack them. They depend
 * on constants only, so onnxruntime computes them once when a session is created: integer weights come out as the integers
 * that DequantizeLinear read before, and the model runs as it did. The last stage of a schedule: other passes look for weights
 * among the stored tensors, where they are no longer.
 */
export const encoder: Pass<EncodeOptions> = {
  name: 'encode/encode',
  section: 'extensions',
  classes: ['WeightEncoder'],
  summary: 'stores weights packed to the bits they need, unpacked once at load; the last stage of a schedule',
  source: 'Rice 1979; Grossi, Gupta and Vitter 2003 (wavelet trees); ONNX Cast of INT4 and INT2; constant folding',
  options,
  // Names that a body shares with the graph around it are how one knows them in the other.
  inBodies: { options: (o) => ({ ...o, names: 'keep' }) },
  closes: 'packs the weights, where no other pass finds them',
  apply,
};

async function apply(model: Model, o: EncodeOptions, ctx: PassContext): Promise<PassResult> {
  // FLOAT16 weights are looked at as what they are cast to, of which Cast is one form.
  const wide = withWidened(model, castTargets(model)).model;
  const lean = withSharedConstants(withoutTalk(wide));
  const { targets, skipped } = findTargets(lean);
  const raised = chosen(lean, targets, o);
  const { model: encoded, changed, failed } = await write(raised.model, raised.plan.storages, ctx);
  const notes = { changed, skipped: [...skipped, ...raised.plan.left, ...failed], notes: raised.notes };
  if (o.names === 'keep') return { model: encoded, ...notes };
  const twin = ctx.twin;
  const names = shortened(encoded, twin ? namesIn(twin.graph) : new Set());
  return { model: withNames(encoded, names), ...(twin ? { twin: withNames(twin, names) } : {}), ...notes };
}

/** Below this share of the bytes a newer operator set, which fewer runtimes know, is not worth it. */
const worthRaising = 0.01;

/** The smallest storage in the model's own operator set or, where it is worth it and can be done, in a newer one. */
function chosen(
  model: Model,
  targets: readonly Target[],
  o: EncodeOptions,
): { model: Model; plan: Plan; notes: string[] } {
  const own = upgradeOpset(model, decoderOpset);
  const at = (version: number): Plan =>
    planFor(targets, { forms: new Set(o.forms), opset: version, memory: o.load_memory * 2 ** 20 });
  const now = opset(own.model);
  const plan = at(now);
  const told = (notes: typeof own.notes): string[] => notes.map((note) => `${note.layer}: ${note.text}`);
  const asIs = { model: own.model, plan, notes: told(own.notes) };
  if (o.max_opset <= now) return asIs;
  const newer = at(o.max_opset);
  if (newer.bytes >= (1 - worthRaising) * plan.bytes) return asIs;
  const version = Math.max(...newer.storages.map(({ encoding }) => encoding.opset));
  try {
    const raised = upgradeOpset(model, version);
    return { model: raised.model, plan: newer, notes: [`raised to opset ${version}`, ...told(raised.notes)] };
  } catch (error) {
    if (!(error instanceof QtoolError)) throw error;
    return { ...asIs, notes: [...asIs.notes, `stays at opset ${now}: ${error.message}`] };
  }
}

/** Writes the decoders, tries each in onnxruntime, and puts those that are exact in the place of the tensors. */
async function write(
  model: Model,
  storages: readonly Storage[],
  ctx: PassContext,
): Promise<{ model: Model; changed: Note[]; failed: Note[] }> {
  const names = { fresh: shortNames(namesIn(model.graph)), known: new Map<string, string>() };
  const shared: Part[] = [];
  const done: { readonly members: readonly Target[]; readonly own: Part }[] = [];
  const changed: Note[] = [];
  const failed: Note[] = [];
  for (const [i, { members, encoding, before, after }] of storages.entries()) {
    if (ctx.signal.aborted) throw new QtoolError('cancelled', 'cancelled');
    ctx.progress(i / storages.length, `packing ${members.length} tensors`);
    const targetNames = members.map(({ tensor }) => tensor.name);
    const group = members.map(({ source }) => source);
    const written = record((store) => writeGroup(store, encoding, group, targetNames), names);
    shared.push(...written.shared.values());
    const wrong = await differing(members, [...shared, written.own], opset(model), ctx);
    if (wrong !== undefined) {
      const text = `onnxruntime decodes ${encoding.detail} to other values in "${wrong}"`;
      failed.push(...members.map(({ layer, tensor }) => ({ layer, text: `${tensor.name}: ${text}` })));
      continue;
    }
    done.push({ members, own: written.own });
    const elements = group.reduce((sum, source) => sum + source.count, 0);
    const rate = ((8 * after) / elements).toFixed(2);
    const together = members.length > 1 ? ` (${members.length} tensors as one)` : '';
    const text = `${encoding.detail}; ${number(before)} → ${number(after)} bytes, ${rate} bits a weight${together}`;
    changed.push(...members.map(({ layer, tensor }) => ({ layer, text: `${tensor.name}: ${text}` })));
  }
  const encoded = edit(model, (draft) => {
    for (const { members } of done) for (const { tensor } of members) draft.removeInitializer(tensor.name);
    for (const { tensors, nodes } of [...shared, ...done.map(({ own }) => own)]) {
      for (const make of tensors) addAs(draft, make());
      for (const node of nodes) draft.addNode(node);
    }
    // What only a decoder that failed would have shared goes again.
    if (failed.length > 0) removeUnread(draft, new Set(model.graph.output.map((output) => output.name)));
  });
  return { model: encoded, changed, failed };
}

/** Adds a tensor under its own name, which decoders were written with: `shortNames` keeps clear of all others. */
function addAs(draft: Draft, tensor: TensorProto): void {
  if (draft.add(tensor.name, tensor) !== tensor.name) throw new Error(`the name "${tensor.name}" is taken`);
}

const number = (bytes: number): string => bytes.toLocaleString('en-US');
