import fc from 'fast-check';

// The same draws each time, so that a run that passed passes again; QTOOL_SEED=<n> draws others. A fault that other draws find
// becomes an example of its test.
fc.configureGlobal({ seed: Number(process.env['QTOOL_SEED'] ?? 20) });

export default fc;
