import { passes } from '../../../src/passes/index.ts';
import { distillerQuantizer } from '../../../src/passes/quantize/distiller.ts';
import { parseSchedule } from '../../../src/schedule/parse.ts';

const read = (lines: string): { options: unknown; notes: readonly string[] } => {
  const text = `quantizers:\n  q:\n    class: PostTrainLinearQuantizer\n${lines.replace(/^/gm, '    ')}\n`;
  const { stages, notes } = parseSchedule(text, 's.yaml', { passes });
  return { options: stages[0]!.options, notes: notes.slice(1) };
};

describe("Distiller's arguments of PostTrainLinearQuantizer", () => {
  it.each([
    ['NONE', 'minmax'],
    ['AVG', 'average_minmax'],
    ['N_STD', 'n_std'],
    ['GAUSS', 'aciq_gauss'],
    ['LAPLACE', 'aciq_laplace'],
  ])('clip_acts: %s is calibration by %s', (clip, method) => {
    expect(read(`clip_acts: ${clip}`).options).toMatchObject({ calibration: { method } });
  });

  it('have its defaults where they are left out: 8 bits, one scale a tensor, symmetric weights', () => {
    expect(read('bits_accum: 32').options).toMatchObject({
      bits_weights: 8,
      bits_activations: 8,
      per_channel: false,
      weights_symmetric: true,
    });
  });

  it('say the widths, the mode of the weights, the deviations, and what layers differ in', () => {
    const { options } = read(
      [
        'bits_parameters: 6',
        'bits_activations: 7',
        'mode: { weights: ASYMMETRIC_SIGNED, activations: ASYMMETRIC_UNSIGNED }',
        'clip_acts: N_STD',
        'clip_n_stds: 3',
        "overrides: { 'conv*': { bits_parameters: 4 }, fc: { bits_parameters: null, bits_activations: null } }",
      ].join('\n'),
    );
    expect(options).toMatchObject({
      bits_weights: 6,
      bits_activations: 7,
      weights_symmetric: false,
      calibration: { method: 'n_std', n_stds: 3 },
      overrides: { 'conv*': { bits_weights: 4 }, fc: { bits_weights: null, bits_activations: null } },
    });
  });

  it('that change nothing here are told, each with its reason', () => {
    const { notes } = read(
      'model_activation_stats: stats.yaml\nscale_approx_mult_bits: 8\nmode: SYMMETRIC\nfp16: false',
    );
    expect(notes.map((note) => note.split(':')[0])).toEqual([
      'quantizers.q.scale_approx_mult_bits',
      'quantizers.q.model_activation_stats',
      'quantizers.q.mode',
    ]);
  });

  it('say each false that Distiller would heed', () => {
    const { notes } = read("overrides: { 'relu*': { bits_activations: 4, quantize_inputs: False } }");
    expect(notes).toEqual([
      "quantizers.q.overrides.relu*.quantize_inputs: a layer's input has the format of the value, whoever reads it",
    ]);
  });

  it('leave a layer in float that is not quantizable, whatever else it says', () => {
    const { options, notes } = read(
      'overrides: { fc: { quantizable: False, bits_weights: 4 }, conv1: { quantizable: True } }',
    );
    expect(options).toMatchObject({ overrides: { fc: { bits_weights: null, bits_activations: null }, conv1: {} } });
    expect(notes).toEqual([]);
  });

  it('quantize the weights alone where the activations have no bits', () => {
    const { options, notes } = read(
      'bits_parameters: 4\nbits_activations: null\noverrides: { conv1: { bits_activations: 8, bits_weights: 8 } }',
    );
    expect(options).toMatchObject({
      bits_weights: 4,
      bits_activations: null,
      overrides: { conv1: { bits_weights: 8, bits_activations: 8 } },
    });
    expect(notes).toEqual([]);
  });

  it('quantize no activations alone, and say so', () => {
    const { notes } = read('bits_parameters: null\noverrides: { relu: { bits_activations: 4 } }');
    const reason = 'bits_activations: a layer whose weights stay in float reads float activations too';
    expect(notes).toEqual([`quantizers.q.overrides.relu.${reason}`, `quantizers.q.${reason}`]);
  });

  it('are recognized in an override alone', () => {
    expect(read('overrides: { conv1: { bits_parameters: 4 } }').options).toMatchObject({
      overrides: { conv1: { bits_weights: 4 } },
    });
  });

  it('are checked like any others', () => {
    expect(() => read('clip_acts: MEAN\nper_channel_wts: True')).toThrow('clip_acts');
    expect(() => read('per_channel_wts: True\nbits_paramters: 4')).toThrow('did you mean "bits_parameters"?');
  });

  it('do not shadow those of the pass itself', () => {
    expect(
      distillerQuantizer.keys.filter((key) => ['bits_weights', 'bits_activations', 'overrides'].includes(key)),
    ).toEqual([]);
    expect(read('bits_weights: 4').options).toMatchObject({ per_channel: true });
  });

  it.each<[string, object]>([
    ['mode: ASYMMETRIC_UNSIGNED', { weights_symmetric: false }],
    ['mode: ASYMMETRIC_SIGNED', { weights_symmetric: false }],
    ['mode: SYMMETRIC_RESTRICTED', { weights_symmetric: true }],
    ['mode: { activations: ASYMMETRIC_UNSIGNED }', { weights_symmetric: true }],
    ['clip_acts: { activations: GAUSS }', { calibration: { method: 'aciq_gauss' } }],
    ['clip_acts: {}', { calibration: { method: 'minmax' } }],
    ['clip_acts: None', { calibration: { method: 'minmax' } }],
    ['per_channel_wts: True', { per_channel: true }],
    ['fp16: False\noverrides: { fc: { per_channel_wts: True } }', { overrides: { fc: { per_channel: true } } }],
  ])('%j mean %j', (lines, options) => {
    expect(read(lines).options).toMatchObject(options);
  });

  it('give deviations to the method that has some only', () => {
    const stds = (lines: string): unknown => (read(lines).options as { calibration: { n_stds?: number } }).calibration.n_stds; // prettier-ignore
    expect(stds('clip_acts: AVG\nclip_n_stds: 3')).toBeUndefined();
    expect(stds('clip_acts: N_STD\nclip_n_stds: null')).toBeUndefined();
    expect(stds('clip_acts: N_STD')).toBeUndefined();
    expect(stds('clip_acts: N_STD\nclip_n_stds: 3')).toBe(3);
  });

  it.each([
    ...['bits_bias: 32', 'bits_accum: 32', 'clip_half_range: True', 'fp16: True', "fpq_module: '16'", 'save_fp_weights: True'], // prettier-ignore
    ...['also_clip_weights: True', 'scale_approx_mult_bits: 8', 'inputs_quant_auto_fallback: True'],
    ...['inputs_quant_auto_fallback: False', 'model_activation_stats: a.yaml', 'mode: { activations: SYMMETRIC }'],
    ...['mode: { activations: SYMMETRIC_RESTRICTED }'],
  ])('%s changes nothing and is told once', (line) => {
    const { notes } = read(line);
    expect(notes).toEqual([expect.stringContaining(`quantizers.q.${line.split(':')[0]}: `)]);
    expect(notes[0]!.split(': ')[1]).not.toBe('');
  });

  it.each([
    'bits_bias: null',
    'fpq_module: null',
    'fp16: False',
    'model_activation_stats: null',
    'mode: ASYMMETRIC_UNSIGNED',
    'mode: { weights: SYMMETRIC }',
    'fp16: False\noverrides: null',
  ])('%j is told by no note', (line) => {
    // prettier-ignore
    expect(read(line).notes).toEqual([]);
  });

  it.each([
    'clip_acts: AVG',
    'clip_n_stds: 2',
    'mode: SYMMETRIC',
    'output_bits: 8',
    'fake: False',
    'fake: True',
    'input_overrides: { 0: {} }',
  ])('%s of one layer changes nothing and is told', (line) => {
    // prettier-ignore
    expect(read(`overrides: { fc: { ${line} } }`).notes).toEqual([
      expect.stringContaining(`quantizers.q.overrides.fc.${line.split(':')[0]}: `),
    ]);
  });
});
