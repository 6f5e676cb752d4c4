import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { PERCENTILE, batchFor } from './cases.mjs';
import { floatCommand, prepareQtool, qtoolCommand } from './qtool.mjs';

const SCRIPTS = fileURLToPath(new URL('./python/', import.meta.url));

/**
 * The tools, each with what pip installs for it and which settings it has. Each Python tool gets an environment of its
 * own: their demands on numpy differ. `default` is a setting for what a tool does when told nothing but U8S8 per channel.
 */
export const TOOLS = {
  onnxruntime: python({
    label: 'onnxruntime',
    packages: ['onnxruntime', 'onnx', 'sympy', 'pillow'],
    script: 'quantize_ort.py',
    takes: ({ method }) => method !== 'default',
  }),
  'onnxruntime-strided': python({
    label: 'onnxruntime, 128 samples at a time',
    packages: ['onnxruntime', 'onnx', 'sympy', 'pillow'],
    environment: 'onnxruntime',
    script: 'quantize_ort.py',
    // The way out of its memory need that its options offer; the number of batches must be a multiple of the stride.
    takes: ({ method, samples }) => ['entropy', 'percentile'].includes(method) && samples % 128 === 0 && samples > 128,
    extra: ({ samples }) => ({ stride: 128 / batchFor(samples) }),
  }),
  nncf: python({
    label: 'NNCF',
    packages: ['nncf', 'onnx', 'onnxruntime', 'pillow'],
    script: 'quantize_nncf.py',
    takes: ({ method, perChannel, others }) => others && perChannel && ['minmax', 'default'].includes(method),
  }),
  'onnx-neural-compressor': python({
    label: 'onnx-neural-compressor',
    // It imports prettytable, psutil and scipy without asking pip for them.
    packages: ['onnx-neural-compressor', 'onnx', 'onnxruntime', 'pillow', 'prettytable', 'psutil', 'scipy'],
    script: 'quantize_inc.py',
    takes: ({ method, perChannel, others }) => others && perChannel && method !== 'default',
  }),
  qtool: {
    label: 'qtool',
    takes: ({ method }) => method !== 'default',
    prepare: prepareQtool,
    command: qtoolCommand,
  },
  // No tool: a bound for all of them.
  'float-once': {
    label: 'the float model run once, in qtool’s place',
    takes: ({ method, perChannel }) => method === 'minmax' && perChannel,
    prepare: prepareQtool,
    command: floatCommand,
    writes: false,
  },
};

function python({ label, packages, environment, script, takes, extra = () => ({}) }) {
  return {
    label,
    takes,
    prepare: ({ venvs, name }) => environmentFor(join(venvs, environment ?? name), packages),
    /** Writes the case beside the output and answers the command line. */
    command({ model, setting, samples, work, output, venvs, name }) {
      const file = join(work, 'case.json');
      const batch = batchFor(setting.samples);
      const request = { model, output: join(output, 'model.onnx'), method: setting.method, batch, samples };
      Object.assign(request, { per_channel: setting.perChannel, percentile: PERCENTILE, ...extra(setting) });
      writeFileSync(file, JSON.stringify(request));
      return { command: pythonIn(join(venvs, environment ?? name)), args: [join(SCRIPTS, script), file] };
    },
  };
}

export function pythonIn(environment) {
  return join(environment, 'bin', 'python');
}

/** Makes the virtual environment where it is missing and installs the newest packages; a failure is a result. */
function environmentFor(folder, packages) {
  const ready = join(folder, 'ready');
  if (!existsSync(ready)) {
    mkdirSync(folder, { recursive: true });
    try {
      const quiet = { stdio: ['ignore', 'ignore', 'pipe'], encoding: 'utf8' };
      execFileSync('python3', ['-m', 'venv', folder], quiet);
      execFileSync(pythonIn(folder), ['-m', 'pip', 'install', '--quiet', '--upgrade', ...packages], quiet);
    } catch (error) {
      return { failure: `does not install: ${lastLine(error.stderr ?? error.message)}` };
    }
    writeFileSync(ready, '');
  }
  const listed = JSON.parse(
    execFileSync(pythonIn(folder), ['-m', 'pip', 'list', '--format', 'json', '--disable-pip-version-check'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }),
  );
  const wanted = [...packages, 'numpy'].map((name) => name.replaceAll('_', '-'));
  const versions = {};
  for (const { name, version } of listed)
    if (wanted.includes(name.toLowerCase().replaceAll('_', '-'))) versions[name.toLowerCase()] = version;
  versions.python = execFileSync(pythonIn(folder), ['-c', 'import platform; print(platform.python_version())'], {
    encoding: 'utf8',
  }).trim();
  return { versions };
}

export function lastLine(text) {
  const lines = String(text)
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
  return (lines.at(-1) ?? 'no message').slice(0, 300);
}

/** The model a tool wrote into its output folder: what the command was told to write, or qtool's name for it. */
export function writtenModel(output) {
  const file = join(output, 'model.onnx');
  return existsSync(file) ? file : undefined;
}

/** The files a model consists of: some tools put the weights into a file beside it, named after it. */
export function filesOf(model) {
  const parts = readdirSync(dirname(model)).filter((file) => file.startsWith(basename(model)));
  return parts.sort().map((file) => join(dirname(model), file));
}
