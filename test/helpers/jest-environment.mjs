import { TestEnvironment } from 'jest-environment-node';

// onnxruntime-node creates typed arrays in the outer realm and checks them with instanceof, so a test's realm must share
// the constructors (microsoft/onnxruntime#16622).
const shared = [
  'Float32Array',
  'Float64Array',
  'Int8Array',
  'Int16Array',
  'Int32Array',
  'Uint8ClampedArray',
  'Uint16Array',
  'Uint32Array',
  'BigInt64Array',
  'BigUint64Array',
  'Float16Array',
  'DataView',
  'SharedArrayBuffer',
];

export default class QtoolTestEnvironment extends TestEnvironment {
  constructor(config, context) {
    super(config, context);
    for (const name of shared) if (name in globalThis) this.global[name] = globalThis[name];
  }
}
