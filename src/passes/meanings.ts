const distillers = "Distiller's, read and of no effect: the graph says what it would say";

/** What options of one name mean in every class whose own schema does not say it. */
export const meanings: Readonly<Record<string, string>> = {
  arch: distillers,
  bits_activations: 'bits of the activations that the layers will be quantized to',
  beta_end: 'exponent of that term at the end: roundings are driven apart sharply',
  beta_start: 'exponent of that term once it sets in: roundings are free to move',
  budget: 'what may be spent: mean bits a weight',
  calibration:
    'how ranges of activations are chosen: method (minmax, entropy, mse, percentile, …), samples, and what the method takes',
  damage: 'what a width costs is measured by: the error of the outputs on calibration data',
  dataset: distillers,
  desired_sparsity: 'share of the structures that go, 0 to 1',
  final_sparsity: 'share of the structures that are gone at the last epoch',
  group_dependency: "Leader: the first weight's structures go in all of them",
  group_size: 'structures go in numbers that this divides',
  group_type: 'what goes: whole filters, rows, channels, columns …',
  initial_sparsity: 'share of the structures that are gone at the first epoch',
  kwargs: 'further arguments of Distiller; null where the class takes none',
  magnitude_fn: 'by which norm structures are ranked',
  overrides: "layer name, pattern or op:Conv → the widths that it gets instead; 'float' leaves it alone",
  ranking_noise: 'deviation of the noise on the ranking, as a share of it',
  ridge: 'pull towards the old weights, in units of the mean power of an input',
  rounding_fn: 'how a share becomes a number of structures',
  samples: 'calibration samples',
  seed: 'of what is drawn at random',
  sparsity_range: 'the least and the largest share that is drawn',
  thinning_func_str: distillers,
  weights_symmetric: 'zero is code 0, and the range the same on both sides; false: a zero point of its own',
};
