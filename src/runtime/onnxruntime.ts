import type * as Ort from 'onnxruntime-node';
import { loadNative, type Native } from '../util/native.ts';

// The variable leaves out CUDA's libraries, which qtool does not use and which come from another host than npm's registry.
const native: Native = {
  name: 'onnxruntime-node',
  purpose: 'runs the models',
  install: 'ONNXRUNTIME_NODE_INSTALL=skip npm install onnxruntime-node',
  needs:
    'it needs Linux with glibc 2.28 or newer (Alpine has none: node:20-slim has) or Windows, on x64 or arm64, or macOS on arm64',
};

/**
 * onnxruntime. 1.30 writes what models it runs into a database under the user's cache and a file in the temporary folder, unless the
 * environment says ORT_DISABLE_TELEMETRY=1: so it does, where the user has not said otherwise.
 * @throws QtoolError `runtime` where it is not installed, or has no binary that loads here.
 */
export function onnxruntime(): Promise<typeof Ort> {
  process.env.ORT_DISABLE_TELEMETRY ??= '1';
  return loadNative(native, () => import('onnxruntime-node'));
}

/** The version of the onnxruntime that runs the models. */
export async function onnxruntimeVersion(): Promise<string> {
  const ort = await onnxruntime();
  return ort.env.versions.node ?? ort.env.versions.common;
}
