import type { Target } from '../autodiff/rule.ts';
import { dtypeOf } from '../graph/dtype.ts';
import { QtoolError } from '../util/error.ts';

interface Reading {
  readonly pattern: RegExp;
  readonly explain: (match: RegExpExecArray) => {
    readonly message: string;
    readonly at?: string | undefined;
    readonly hint?: string;
  };
}

/** What onnxruntime 1.30 says when it refuses a model, in its words, and what that means to the user. */
const readings: readonly Reading[] = [
  {
    pattern: /Opset (\d+) is under development[^]*domain (\S+) is till opset (\d+)/,
    explain: ([, got, domain, most]) => ({
      message: `opset ${got} of ${domain} is newer than this onnxruntime reads (${most})`,
      hint: `export the model with opset ${most} or lower`,
    }),
  },
  {
    pattern: /Unsupported model IR version: (\d+), max supported IR version: (\d+)/,
    explain: ([, got, most]) => ({
      message: `IR version ${got} is newer than this onnxruntime reads (${most})`,
      hint: `write the model with ir_version ${most} or lower`,
    }),
  },
  {
    pattern: /Fatal error: (.*):(\S+)\(-?\d+\) is not a registered function\/op/,
    explain: ([, domain, op]) => ({
      message: `onnxruntime does not know the operator ${op} of domain "${domain}"`,
      hint: 'custom operator libraries are not loaded; export the model without it',
    }),
  },
  {
    pattern: /In Node, \("([^"]*)"[^]*No opset import for domain '(.*)'/,
    explain: ([, node, domain]) => ({
      message: `the model uses domain "${domain}" but imports no version of it`,
      at: node,
      hint: 'add the domain to opset_import or export the model again',
    }),
  },
  {
    pattern: /In Node, \("([^"]*)"[^]*No Op registered for (\S+) with domain_version of (\d+)/,
    explain: ([, node, op, version]) => ({
      message: `there is no operator ${op} in opset ${version}`,
      at: node,
      hint: 'it may be newer than the opset the model imports',
    }),
  },
  {
    pattern: /In Node, \("([^"]*)", (\S+), [^]*, Error (.*)/,
    explain: ([, node, op, what]) => ({ message: `this ${op} is not valid ONNX: ${what}`, at: node }),
  },
  {
    pattern: /Could not find an implementation for (\S+)\((\d+)\) node with name '([^']*)'/,
    explain: ([, op, version, node]) => ({
      message: `onnxruntime has no CPU kernel for ${op} (opset ${version}) with the types it is given here`,
      at: node,
      hint: 'cast its inputs to float32, or keep this layer out of the pass that changed its type',
    }),
  },
  {
    pattern: /Unsupported data type: (\d+)/,
    explain: ([, code]) => ({
      message: `an input or output has the type ${dtypeOf(Number(code)) ?? code}, which cannot be exchanged with JavaScript`,
      hint: 'add a Cast to float32 at that end of the model',
    }),
  },
  {
    pattern: /protobuf parsing failed|Model data pointer is null/i,
    explain: () => ({ message: 'this is not an ONNX model, or the file is truncated' }),
  },
  { pattern: /File doesn't exist/, explain: () => ({ message: 'no such file' }) },
  {
    pattern:
      /External data path does not exist|External data path validation failed|escapes (?:model|working) directory/,
    explain: () => ({
      message: 'the model keeps weights in another file that is not there or stands outside its folder',
      hint: 'put the external data file beside the model',
    }),
  },
  { pattern: /Node \(([^)]*)\)[^]*?(\[\w+\] .*)/, explain: ([, node, what]) => ({ message: what ?? '', at: node }) },
];

/** What was thrown says. */
export const textOf = (error: unknown): string =>
  error instanceof Object && 'message' in error ? String(error.message) : String(error);

/** Turns what onnxruntime threw while loading into one line. `at` names the model where onnxruntime names no node. */
export function explainLoad(error: unknown, at?: string): QtoolError {
  const text = textOf(error);
  for (const { pattern, explain } of readings) {
    const match = pattern.exec(text);
    if (match === null) continue;
    const { message, hint, at: node } = explain(match);
    return new QtoolError('runtime', message, { at: node || at, hint, cause: error });
  }
  return new QtoolError('runtime', `onnxruntime refuses the model: ${oneLine(text)}`, { at, cause: error });
}

/** Turns what onnxruntime threw while running into one line. @param device whose kernels ran. */
export function explainRun(error: unknown, at?: string, device: Target = 'cpu'): QtoolError {
  const text = textOf(error);
  const node = /Name:'([^']*)'/.exec(text)?.[1];
  const what = oneLine(text.replace(/^.*Status Message:\s*/s, ''));
  return new QtoolError('runtime', `onnxruntime failed while running: ${what}`, {
    at: node ?? at,
    hint:
      device === 'webgpu'
        ? 'what WebGPU does not run the CPU may: leave out --device webgpu'
        : node === undefined
          ? undefined
          : 'the shapes of this sample do not fit this node',
    cause: error,
  });
}

/** Leaves out the C++ source location and signature that onnxruntime puts before what it has to say. */
function oneLine(text: string): string {
  return text
    .replace(/\/\S*onnxruntime_src\/\S+:\d+ (?:[^]*?\) )?/g, '')
    .replace(/\s+/g, ' ')
    .trim();
}
