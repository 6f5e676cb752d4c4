/**
 * Energy of operations in 45 nm at 0.9 V, picojoules: Horowitz, Computing's energy problem, ISSCC 2014, as Dally shows them (NIPS 2015) and Han et
 * al. 2016 (EIE, table 1, which gives 32-bit reads of an 8 kB SRAM and of DRAM). What it says of a processor of today is the ratios.
 */
export const picojoules = {
  add: { int8: 0.03, int32: 0.1, float32: 0.9 },
  multiply: { int8: 0.2, int32: 3.1, float32: 3.7 },
  read: { sram: 5, dram: 640 },
} as const;

/**
 * Energy of a float model's work, picojoules: of a multiply-accumulate, of reading a byte of weights, and of reading or writing a byte of what goes in
 * and out of layers. The least that there can be: every weight comes from DRAM once a sample and every activation from SRAM, and all else is
 * reused. Yang, Chen and Sze 2017 (arXiv 1611.05128), who prune by energy, add what a dataflow reads again on its levels of memory.
 */
export const floatPicojoules = {
  mac: picojoules.multiply.float32 + picojoules.add.float32,
  weightByte: picojoules.read.dram / 4,
  activationByte: picojoules.read.sram / 4,
} as const;

/** What one sample takes, in microjoules. */
export interface Energy {
  readonly arithmetic: number;
  /** Every weight read from DRAM once. */
  readonly weights: number;
  /** Inputs of layers read from SRAM and outputs written to it, once each. */
  readonly activations: number;
  readonly total: number;
}

/** What is counted of one layer and one sample. */
export interface Work {
  readonly macs: number;
  readonly outputs: number;
  readonly inputs: number;
  readonly weights: number;
  /** Bytes of a weight and of a code. */
  readonly weightBytes: number;
  readonly codeBytes: number;
}

/** The integer model's energy and that of the same layers in float32. Rescaling is a 32-bit multiplication and an addition an output. */
export function energyOf(work: readonly Work[]): { readonly integer: Energy; readonly float: Energy } {
  const { add, multiply, read } = picojoules;
  const float = floatPicojoules;
  const sum = (each: (one: Work) => number): number => work.reduce((all, one) => all + each(one), 0) / 1e6;
  const total = (parts: Omit<Energy, 'total'>): Energy => ({
    ...parts,
    total: parts.arithmetic + parts.weights + parts.activations,
  });
  return {
    integer: total({
      arithmetic: sum((one) => one.macs * (multiply.int8 + add.int32) + one.outputs * (multiply.int32 + add.int32)),
      weights: sum((one) => ((one.weights * one.weightBytes) / 4) * read.dram),
      activations: sum((one) => (((one.inputs + one.outputs) * one.codeBytes) / 4) * read.sram),
    }),
    float: total({
      arithmetic: sum((one) => one.macs * float.mac),
      weights: sum((one) => one.weights * 4 * float.weightByte),
      activations: sum((one) => (one.inputs + one.outputs) * 4 * float.activationByte),
    }),
  };
}
