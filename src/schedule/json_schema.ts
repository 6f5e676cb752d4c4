import * as z from 'zod';
import { meanings } from '../passes/meanings.ts';
import type { Pass } from '../passes/pass.ts';
import { lrKinds } from '../passes/train/lr/index.ts';
import { trainingSchema } from '../passes/train/options.ts';
import { regularizerKinds } from '../passes/train/regularize/index.ts';
import { sectionOf } from './instances.ts';
import { gateOrNone, namesSchema, policyKeys, policySchema, sections, type AnySection } from './language.ts';

type Json = { readonly [key: string]: unknown };

/**
 * The JSON Schema (draft-7) of schedule files, for completion and checking in editors: one branch a class, told apart by
 * `class`. It is what the parser checks; what depends on other parts of the file (instances, epochs) it cannot say.
 */
export function scheduleJsonSchema(passes: readonly Pass[]): Json {
  const definitions: Record<string, unknown> = {};
  const convert = (schema: z.ZodType): Json => {
    const {
      $schema: _,
      definitions: own,
      ...rest
    } = z.toJSONSchema(schema, {
      target: 'draft-7',
      io: 'input',
      unrepresentable: 'any',
      // What every whole number and every key is anyway only makes an editor's hints longer.
      override: ({ jsonSchema }) => {
        if (jsonSchema.maximum === Number.MAX_SAFE_INTEGER) delete jsonSchema.maximum;
        if (jsonSchema.minimum === Number.MIN_SAFE_INTEGER) delete jsonSchema.minimum;
        if (JSON.stringify(jsonSchema.propertyNames) === '{"type":"string"}') delete jsonSchema.propertyNames;
      },
    });
    Object.assign(definitions, own);
    return rest;
  };
  const parts = Object.fromEntries(sections.map((section) => [section, sectionSchema(section, passes, convert)]));
  const policy = convert(policySchema);
  const keys = Object.values(policyKeys);
  const properties = {
    version: { const: 1, description: 'Version of the schedule language' },
    gate: convert(gateOrNone),
    names: convert(namesSchema),
    training: { ...convert(trainingSchema), description: 'That epochs train, and how' },
    ...parts,
    policies: {
      description: 'Which instance is applied when',
      type: ['array', 'null'],
      items: {
        ...policy,
        oneOf: keys.map((key) => ({ required: [key] })),
      },
    },
  };
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'qtool schedule',
    description: 'What is compressed (instances of passes) and when (policies). See docs/schedules.md.',
    type: 'object',
    additionalProperties: false,
    properties,
    ...(Object.keys(definitions).length > 0 ? { definitions } : {}),
  };
}

const about: Readonly<Record<AnySection, string>> = {
  pruners: 'Passes that set weights to zero or remove structures',
  quantizers: 'Passes that store weights and activations in fewer bits',
  allocators: 'Passes that choose bit-widths and change no weight',
  extensions: 'Everything else that changes the graph',
  regularizers: 'What is added to the loss of training, weight by weight',
  lr_schedulers: 'How the learning rate of training goes',
};

function sectionSchema(section: AnySection, passes: readonly Pass[], convert: (schema: z.ZodType) => Json): Json {
  const running = passes
    .filter((pass) => pass.section === section)
    .flatMap((pass) => pass.classes.map((name) => branch(name, optionsOf(pass, convert), pass.summary)));
  const kinds = [...lrKinds, ...regularizerKinds]
    .filter((kind) => sectionOf(kind) === section)
    .flatMap((kind) => kind.classes.map((name) => branch(name, convert(kind.options), kind.summary)));
  const branches = [...running, ...kinds];
  // Without any class of its own a section takes no instance.
  const instance = branches.length > 0 ? { type: 'object', required: ['class'], oneOf: branches } : false;
  return { description: about[section], type: ['object', 'null'], additionalProperties: instance };
}

/** The options of a pass in its own form, or in either where it has two. */
function optionsOf({ options, otherForm }: Pass, convert: (schema: z.ZodType) => Json): Json {
  return otherForm ? { anyOf: [explained(convert(options)), explained(convert(otherForm.options))] } : explained(convert(options)); // prettier-ignore
}

/** What an option means, where its own schema does not say it: shown by editors. */
function explained(schema: Json): Json {
  const properties = Object.entries((schema.properties ?? {}) as Readonly<Record<string, Json>>);
  const said = properties.map(([name, option]) => [name, { ...(meanings[name] && { description: meanings[name] }), ...option }]); // prettier-ignore
  return properties.length === 0 ? schema : { ...schema, properties: Object.fromEntries(said) };
}

/** The options of a class with its name. Options that are a choice of several mappings get it in each of them. */
function branch(name: string, options: Json, summary: string): Json {
  const constant = { const: name, ...(summary === '' ? {} : { description: summary }) };
  for (const choice of ['anyOf', 'oneOf'] as const)
    if (Array.isArray(options[choice]))
      return { ...options, [choice]: (options[choice] as Json[]).map((option) => branch(name, option, summary)) };
  const required = (options['required'] as readonly string[] | undefined) ?? [];
  return {
    title: name,
    ...options,
    properties: { class: constant, ...(options['properties'] as Json | undefined) },
    required: ['class', ...required],
  };
}
