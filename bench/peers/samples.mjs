import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MODELS } from './cases.mjs';

const HERE = dirname(fileURLToPath(import.meta.url));

/**
 * The samples of a model as the Python scripts and qtool read them: one list of files in one order for both sides.
 * Calibration files of a labelled folder are shuffled once with a fixed seed, so that the first n stand for all classes;
 * the first 128 are the first of the 512, and those of the 4,096.
 */
export function samplesOf(name, { data, unpacked, python }) {
  const model = MODELS[name];
  if (model.kind === 'arrays') return arraysOf(model, { data, unpacked, python });
  const side = (source) => {
    const listed = source.list ? fromList(source, data, unpacked) : fromFolder(source, data, unpacked);
    return { kind: 'images', input: 'input', ...listed, ...model.preprocessing };
  };
  const all = side(model.calibration);
  const first = (count) => ({ ...all, files: all.files.slice(0, count), labels: all.labels.slice(0, count) });
  return { calibration: first, validation: side(model.validation) };
}

/** Calibration and validation rows of one archive, each in an archive of its own that both sides read whole. */
function arraysOf(model, { data, unpacked, python }) {
  const side = (part, { file, start, count }) => {
    mkdirSync(unpacked, { recursive: true });
    const target = join(unpacked, `${basename(file, '.npz')}-${part}.npz`);
    const script = join(HERE, 'python/slice_arrays.py');
    execFileSync(python, [script, resolve(data, 'data', file), target, String(start), String(count)]);
    return { kind: 'arrays', file: target, count, inputs: model.inputs, labels: model.labels };
  };
  const calibration = side('calibration', model.calibration);
  return { calibration: () => calibration, validation: side('validation', model.validation) };
}

function fromList({ archive, list }, data, unpacked) {
  const root = unpack(resolve(data, 'data', archive), unpacked, basename(archive, '.tar'));
  const lines = readFileSync(resolve(data, 'data', list), 'utf8')
    .trim()
    .split('\n')
    .slice(1);
  const rows = lines.map((line) => line.trim().split(','));
  return { root: dirname(root), files: rows.map(([file]) => file), labels: rows.map(([, label]) => Number(label)) };
}

function fromFolder({ archive, folder }, data, unpacked) {
  const root = unpack(resolve(data, 'data', archive), unpacked, folder);
  const classes = readdirSync(root).sort();
  const rows = classes.flatMap((name, label) => {
    const files = readdirSync(join(root, name)).sort();
    return files.map((file) => ({ file: `${name}/${file}`, label }));
  });
  shuffle(rows);
  return { root, files: rows.map(({ file }) => file), labels: rows.map(({ label }) => label) };
}

/** Unpacks an archive once; answers the folder it holds. */
function unpack(archive, unpacked, folder) {
  const target = join(unpacked, folder);
  if (!existsSync(target)) {
    mkdirSync(unpacked, { recursive: true });
    execFileSync('tar', ['xf', archive, '-C', unpacked]);
  }
  return target;
}

/** Fisher and Yates with a linear congruential generator (Numerical Recipes' constants): the same order everywhere. */
function shuffle(rows) {
  let state = 1;
  for (let at = rows.length - 1; at > 0; at--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (at + 1));
    [rows[at], rows[other]] = [rows[other], rows[at]];
  }
}
