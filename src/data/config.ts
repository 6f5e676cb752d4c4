import { dirname } from 'node:path';
import * as z from 'zod';
import { checkYaml, readYaml, type Path } from '../util/yaml.ts';
import type { Samples } from './given.ts';
import { limits } from './limits.ts';
import { recipeNames } from './recipes.ts';
import { transformsSchema } from './transforms.ts';
import type { MetricConfig } from './types.ts';

const samples = z.int().min(1).describe('Take at most so many samples, chosen by the seed.');
const shuffle = z.boolean().describe('Whether samples come in a seeded order (default) or in that of the files.');
const input = z.string().min(1).describe("The model input that is fed. Default: the model's only one.");
const transforms = transformsSchema.describe('Overrides the transforms of the file, field by field.');
const common = { samples: samples.optional(), shuffle: shuffle.optional() };
const image = { input: input.optional(), transforms: transforms.optional() };
const path = z.string().min(1);
const names = z.array(z.string().min(1)).min(1);

const imageFolder = z.strictObject({
  kind: z.literal('image-folder'),
  path: path.describe('A folder with one sub-folder a class; their order by name is the label. A .tar of one will do.'),
  classes: names.describe('Names of the sub-folders in label order, where it is not theirs.').optional(),
  ...image,
  ...common,
});

const manifest = z.strictObject({
  kind: z.literal('manifest'),
  path: path.describe('A .csv, .tsv or .jsonl file, one image a line.'),
  images: path
    .describe('The folder (or .tar) that its file names start from. Default: the folder of the list.')
    .optional(),
  file_column: z.string().describe('Default: file.').optional(),
  label_column: z.string().describe('Default: label, where there is one.').optional(),
  classes: names.describe('Class names in label order, where labels are names.').optional(),
  ...image,
  ...common,
});

const idx = z.strictObject({
  kind: z.literal('idx'),
  path: path.describe('An IDX file (.gz too); axis 0 is the sample.'),
  labels: path.describe('An IDX file of labels.').optional(),
  ...image,
  ...common,
});

const column = z.strictObject({ array: path, transforms: transforms.optional() });
const arrayAxis = z
  .union([z.int().min(0), z.literal('none')])
  .describe('The axis that the samples lie along; none: one value for all. Default 0, or what the shapes say.');
const npy = z.strictObject({
  kind: z.literal('npy'),
  path: path.describe('A .npz archive or one .npy array; axis 0 is the sample.').optional(),
  inputs: z
    .record(z.string(), z.union([path, column.extend({ axis: arrayAxis.optional() })]))
    .describe('Model input: array name in the .npz, or a .npy file. Default: arrays named like the inputs.')
    .optional(),
  labels: path
    .describe('Array name in the .npz, or a .npy file: [samples] or [samples, positions], -1 = not counted.')
    .optional(),
  ...image,
  ...common,
});

const parquet = z.strictObject({
  kind: z.literal('parquet'),
  path: path.describe('A .parquet file or a folder of them.'),
  inputs: z
    .record(z.string(), z.union([path, column]))
    .describe('Model input: column. Default: an image column, or columns named like the inputs.')
    .optional(),
  labels: z.string().min(1).describe('Column of labels. Default: label, where there is one.').optional(),
  ...image,
  ...common,
});

const onnx = z.strictObject({
  kind: z.literal('onnx'),
  path: path.describe('A folder with test_data_set_*/input_*.pb and output_*.pb, or one such set.'),
  ...common,
});

const userModule = z.strictObject({
  kind: z.literal('module'),
  path: path.describe('A JavaScript module that exports an async iterable of samples, or a function that returns one.'),
  export: z.string().min(1).describe('Default: default.').optional(),
  options: z.unknown().describe('Handed to the function.').optional(),
  ...common,
});

const text = z.strictObject({
  kind: z.literal('text'),
  path: path.describe('A file of texts, one a line; of .jsonl, one a record.'),
  column: z.string().min(1).describe('The field of a .jsonl record that holds the text. Default: text.').optional(),
  tokenizer: path.describe('A tokenizer.json, in the format of Hugging Face.'),
  length: z
    .int()
    .min(1)
    .max(limits.positions)
    .describe('Tokens that a text is cut or filled up to. Default 128.')
    .optional(),
  pad: z.int().min(0).describe('The token that fills up. Default: the one that the tokenizer names.').optional(),
  ...common,
});

const wav = z.strictObject({
  kind: z.literal('wav'),
  path: path.describe('A folder of .wav files, or a .tar of one.'),
  rate: z.int().min(1).describe('Values a second. Files of another rate are refused: nothing is resampled.'),
  frame: z.int().min(1).describe('Cut the sounds into frames of so many values. Default: whole files.').optional(),
  input: input.optional(),
  values: z.record(z.string(), z.number()).describe('Other inputs, each one value throughout.').optional(),
  ...common,
});

const drawn = {
  distribution: z.enum(['normal', 'uniform']).describe('Of float inputs. Default normal.').optional(),
  low: z.number().describe('Smallest value of uniform and integer inputs. Default 0.').optional(),
  high: z
    .number()
    .describe('Largest value of uniform (default 1) and integer inputs (default 1), which may be drawn itself.')
    .optional(),
};

const randomInput = z.strictObject({
  ...drawn,
  value: z.number().describe('One value throughout, such as a sampling rate.').optional(),
  dims: z.array(z.int().min(0)).describe('The whole shape of a sample, where names of axes do not say it.').optional(),
});

const random = z.strictObject({
  kind: z.literal('random'),
  samples: z.int().min(1).optional(),
  ...drawn,
  dims: z.record(z.string(), z.int().min(1)).describe('Sizes of symbolic axes by name.').optional(),
  inputs: z
    .record(z.string(), z.union([z.literal('zeros'), randomInput]))
    .describe('What one input is, by its name; zeros: 0 throughout, as states are at the beginning.')
    .optional(),
});

export const sourceSchema = z.discriminatedUnion('kind', [
  imageFolder,
  manifest,
  idx,
  npy,
  parquet,
  onnx,
  userModule,
  text,
  wav,
  random,
]);

/** Samples that a program handed over: no file can say this. */
export interface MemorySource {
  readonly kind: 'memory';
  readonly given: Samples;
  readonly samples?: number;
  readonly shuffle?: boolean;
}

export type SourceConfig = z.infer<typeof sourceSchema> | MemorySource;
export type SourceConfigOf<K extends SourceConfig['kind']> = Extract<SourceConfig, { kind: K }>;

const metric = z.union([
  z.string().min(1),
  z.looseObject({ name: z.string().min(1).describe('A metric, or the path of a module.') }),
]);

const part = z.number().positive();

/** A data config file (configs/*.yaml): what a model is calibrated on and judged by. */
export const dataConfigSchema = z
  .strictObject({
    version: z.literal(1).optional(),
    root: path
      .describe('The folder that paths start from. Default: the folder of this file; --data-root goes before it.')
      .optional(),
    seed: z.int().min(0).max(0xffffffff).describe('Of every random choice. Default 0.').optional(),
    data: sourceSchema.describe('One set, which is split into calibration and validation.').optional(),
    split: z
      .strictObject({
        calibration: part.describe('Of `data`: a share below 1, or a number of samples. Default: a fifth, at most 512.'), // prettier-ignore
        training: part.describe('The same, for training. Default: none.'),
      })
      .partial()
      .optional(),
    calibration: sourceSchema.describe('What ranges and statistics are collected on.').optional(),
    validation: sourceSchema.describe('What the model is judged on.').optional(),
    training: z
      .union([sourceSchema, z.array(sourceSchema).min(1)])
      .describe('What the model is trained on, where it is: one source, or several that are mixed.')
      .optional(),
    preprocess: z
      .enum(recipeNames)
      .describe('A known way from decoded pixels to the model input; transforms override it, step by step.')
      .optional(),
    transforms: transformsSchema.describe('From decoded pixels to the model input.').optional(),
    metric: z
      .union([metric, z.array(metric).min(1)])
      .describe('What is measured. Default: what the data allows.')
      .optional(),
    state: z
      .record(
        z.string(),
        z.union([
          z.string().min(1),
          z.strictObject({
            output: z.string().min(1),
            dims: z
              .array(z.int().min(0))
              .describe('The shape that it begins in, where the model leaves it open.')
              .optional(),
          }),
        ]),
      )
      .describe(
        'Inputs that are fed with an output of the step before (input: output), zeros at first. Samples are sequences.',
      ) // prettier-ignore
      .optional(),
    batch_size: z.int().min(1).describe('Samples a run of the model takes. Default 32.').optional(),
  })
  .superRefine((value, ctx) => {
    const problem = (key: string, message: string): void => ctx.addIssue({ code: 'custom', path: [key], message });
    const { data, split, calibration, validation, training } = value;
    if (data && calibration)
      problem('data', 'stands beside calibration: give `data` alone, or calibration and validation');
    else if (data && validation)
      problem('data', 'stands beside validation: give `data` alone, or calibration and validation');
    else if (!data && !validation)
      problem(calibration ? 'validation' : 'data', 'is missing: what is the model judged on?');
    if (split && calibration) problem('split', 'is only for one set that is split; here calibration is given');
    else if (split && validation && training) problem('split', 'is only for one set that is split; here calibration is taken of training'); // prettier-ignore
    else if (split?.training !== undefined && training) problem('training', 'stands beside split.training: give one of them'); // prettier-ignore
    for (const [key, share] of Object.entries(split ?? {}))
      if (share !== undefined && share >= 1 && !Number.isInteger(share)) problem('split', `${key} must be a share below 1 or a whole number of samples`); // prettier-ignore
    if (value.state && (training !== undefined || split?.training !== undefined)) problem('state', 'is for calibration and validation: sequences with states are not trained on'); // prettier-ignore
    if (split && Object.keys(split).length === 0) problem('split', 'says nothing: give calibration, training or both');
  });

type Sets = 'data' | 'calibration' | 'validation';
export type DataConfigValue = Omit<z.infer<typeof dataConfigSchema>, Sets | 'training'> & {
  readonly [set in Sets]?: SourceConfig | undefined;
} & { readonly training?: SourceConfig | readonly SourceConfig[] | undefined };

/** A checked data config and where it was read. */
export interface DataConfig {
  readonly file: string;
  /** The folder that the file's paths start from. */
  readonly folder: string;
  readonly value: DataConfigValue;
  /** Nobody wrote it: it stands for a path that was given alone. */
  readonly guessed?: boolean;
  /** `file:line:col` of a key; undefined where no file describes the data. */
  readonly at: (path: Path, on?: 'key' | 'value') => string | undefined;
}

/** The metrics that a config asks for, in one shape; none where it leaves the choice open. */
export function metricConfigs({ value, at }: DataConfig): MetricConfig[] {
  if (value.metric === undefined) return [];
  const list = Array.isArray(value.metric) ? value.metric : [value.metric];
  return list.map((entry, i) => {
    const place: Path = Array.isArray(value.metric) ? ['metric', i] : ['metric'];
    if (typeof entry === 'string') return { name: entry, options: {}, at: () => at(place) };
    const { name, ...options } = entry;
    return { name, options, at: (key) => (key === undefined ? at([...place, 'name']) : at([...place, key], 'key')) };
  });
}

/**
 * Reads a data config.
 * @throws QtoolError `data` with `file:line:col`, key path and the nearest known name.
 */
export function parseDataConfig(text: string, file: string): DataConfig {
  const doc = readYaml(text, file, 'data');
  const value = checkYaml(doc, dataConfigSchema);
  return { file, folder: dirname(file), value, at: (at, on) => doc.at(at, on) };
}
