'use strict';
const swc = require('@swc/jest').createTransformer({
  jsc: { target: 'es2022', parser: { syntax: 'typescript' } },
  module: { type: 'es6' },
});

// Free globals are looked up through the vm's interceptors, about 90 times slower in hot loops (jestjs/jest#5163).
// One line at the top of each module makes them module constants; line numbers stay as they are.
const prelude = 'const Math = globalThis.Math, Number = globalThis.Number;';
const wrap =
  (fn) =>
  (source, ...rest) =>
    fn.call(swc, prelude + source, ...rest);

module.exports = {
  canInstrument: swc.canInstrument,
  process: wrap(swc.process),
  processAsync: wrap(swc.processAsync),
  getCacheKey: wrap(swc.getCacheKey),
};
