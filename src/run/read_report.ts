import * as z from 'zod';
import { QtoolError } from '../util/error.ts';
import { given } from '../util/must.ts';
import type { RunReport } from './report.ts';

/** Numbers as `jsonText` writes them: those that are not finite are words. */
const numeric = z.union([z.number(), z.enum(['Infinity', '-Infinity', 'NaN']).transform(Number)]);
const texts = z.array(z.string());
const pair = z.tuple([numeric, numeric]);

const metric = z.looseObject({
  name: z.string(),
  value: numeric,
  unit: z.enum(['%', 'dB', '']),
  higherIsBetter: z.boolean(),
  samples: numeric,
  reference: numeric,
  drop: numeric,
  interval: numeric.optional(),
  dropInterval: numeric.optional(),
  perOutput: z.record(z.string(), numeric).optional(),
});

const latency = z.looseObject({
  batch: z.number(),
  milliseconds: numeric,
  floatMilliseconds: numeric,
  ratio: numeric,
  ratioLow: numeric,
  ratioHigh: numeric,
});

const measurement = z.looseObject({
  metrics: z.array(metric),
  bytes: z.number(),
  zeros: numeric,
  latency: z.array(latency),
});

const notes = z.array(z.looseObject({ layer: z.string(), text: z.string() }));

const limit = { metric: z.string(), onFail: z.string() };
const gate = z.union([
  z.looseObject({ ...limit, maxDrop: numeric, relative: z.boolean() }),
  z.looseObject({ ...limit, min: numeric }),
  z.looseObject({ ...limit, max: numeric }),
]);

const stage = z.looseObject({
  index: z.number(),
  instance: z.string(),
  pass: z.string(),
  class: z.string(),
  epoch: z.number(),
  at: z.string(),
  options: z.unknown(),
  gate: gate.optional(),
  attempts: z.array(z.looseObject({ strength: z.string(), measurement: measurement.optional(), passed: z.boolean() })),
  measurement: measurement.optional(),
  verdict: z.enum(['kept', 'undone', 'retried', 'stopped', 'warned']),
  why: z.string(),
  changed: notes,
  skipped: notes,
  notes: texts,
  seconds: numeric,
});

const counts = z.array(z.number());
const layer = z.looseObject({
  layer: z.string(),
  op: z.string(),
  weights: z.string(),
  activations: z.string(),
  sqnr: numeric.optional(),
  kernel: z.enum(['integer', 'float', 'gone', 'unknown']),
  why: z.string(),
  own: numeric.optional(),
  inherited: numeric.optional(),
  shape: z.array(z.number()).optional(),
  output: z.array(z.number()).optional(),
  parameters: z.number().optional(),
  macs: z.number().optional(),
  bytes: z.number().optional(),
  floatBytes: z.number().optional(),
  bits: z.number().optional(),
  weightSpread: z
    .looseObject({
      low: numeric,
      high: numeric,
      float: counts,
      quantized: counts.optional(),
      range: pair.optional(),
      clipped: numeric.optional(),
    }) // prettier-ignore
    .optional(),
  activationSpread: z
    .looseObject({ low: numeric, high: numeric, counts, range: pair.optional(), clipped: numeric.optional() })
    .optional(),
});

const dataset = z.looseObject({ kind: z.string(), source: z.string(), samples: z.number(), labelled: z.boolean(), notes: texts }); // prettier-ignore

const sensitivity = z.looseObject({
  metric: z.string(),
  unit: z.enum(['%', 'dB', '']),
  columns: texts,
  rows: z.array(z.looseObject({ layer: z.string(), values: z.array(z.union([numeric, z.null().transform(() => undefined)])) })), // prettier-ignore
});

/** Loose: what a later version adds is no fault, and what an earlier one had not is optional. */
const runReport = z.looseObject({
  format: z.literal(1),
  tool: z.looseObject({ qtool: z.string(), onnxruntime: z.string(), node: z.string(), platform: z.string(), cpu: z.string() }), // prettier-ignore
  started: z.string(),
  seconds: numeric,
  command: z.string().optional(),
  model: z.looseObject({ path: z.string(), bytes: z.number(), sha256: z.string(), opset: z.number(), parameters: z.number() }), // prettier-ignore
  schedule: z.string(),
  data: z.looseObject({ calibration: dataset, validation: dataset, notes: texts }),
  baseline: measurement,
  stages: z.array(stage),
  layers: z.array(layer),
  result: z.looseObject({
    path: z.string().optional(),
    sha256: z.string().optional(),
    measurement,
    levels: z.looseObject({ samples: z.number(), disabled: numeric, all: numeric }).optional(),
    gzip: z.number(),
    brotli: z.number(),
    stages: z.array(z.number()),
    status: z.enum(['finished', 'stopped', 'cancelled', 'failed']),
  }),
  diagnosis: z.looseObject({ sentences: texts, yaml: z.string().optional() }).optional(),
  sensitivity: sensitivity.optional(),
  warnings: texts.default([]),
  notes: texts,
});

/**
 * A run's report from the text of its report.json, also of an earlier version of this format.
 * @throws QtoolError('usage') naming the file, and the first key that is not as it should be.
 */
export function parseReport(text: string, at: string): RunReport {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch (cause) {
    const why = (cause as Error).message.replace(/\s+/g, ' ');
    throw new QtoolError('usage', `this is no JSON: ${why}`, { at, hint: 'the file is damaged: run qtool quantize again', cause }); // prettier-ignore
  }
  const parsed = runReport.safeParse(found);
  if (parsed.success) return parsed.data as unknown as RunReport;
  const issue = given(parsed.error.issues[0], 'what is wrong');
  const key = issue.path.map(String).join('.');
  throw new QtoolError('usage', `this is no report of a run: ${key === '' ? '' : `${key}: `}${issue.message}`, {
    at,
    hint: 'qtool quantize writes report.json; name the folder of such a run',
  });
}
