import { analyzeSqnr } from '../analyze/sqnr/analyze.ts';
import { sqnrAllocator } from '../passes/allocate/sqnr.ts';
import { proposalYaml, type AnalysisReport } from '../report/analysis.ts';
import { noStage, openInstruments } from '../run/context.ts';
import { batchSizeOf, openModelData, type DataGiven, type DataOptions } from './data.ts';
import { abortable, openModel, type ModelGiven, type Watch } from './given.ts';

export interface AnalyzeOptions extends DataOptions, Watch {
  readonly model: ModelGiven;
  readonly data: DataGiven;
  /** Mean bits a weight of the proposed widths; default 4. */
  readonly bits?: number | undefined;
  /** Weight scales from the extremes instead of the least squared error. */
  readonly minmax?: boolean | undefined;
}

/** Samples that errors are measured on where nothing is said: SQNR in dB settles within a few tenths. */
const defaultSamples = 128;

/**
 * Says what quantization noise does in a model, and the widths that the closed form would give its layers, as `qtool analyze` does.
 * @throws QtoolError; the signal's reason.
 */
export function analyze(options: AnalyzeOptions): Promise<AnalysisReport> {
  return abortable(options.signal, async (signal) => {
    const model = await openModel(options.model);
    const samples = options.samples ?? defaultSamples;
    const data = await openModelData(model, options.data, { ...options, samples });
    options.onProgress?.({ kind: 'phase', text: `analyzing ${model.path ?? 'the model'}` });
    const instruments = openInstruments({
      ...{ reference: model, data, metrics: [], signal },
      ...{ batchSize: batchSizeOf(options, data), threads: options.threads, memoryLimit: undefined },
      progress: (done, text) => options.onProgress?.({ kind: 'progress', done, text }),
    });
    try {
      const ctx = instruments.context(noStage());
      const scales = options.minmax === true ? 'minmax' : 'mse';
      const found = await analyzeSqnr(ctx, model, { samples, scales, method: 'minmax' });
      const bits = options.bits ?? 4;
      const asked = sqnrAllocator.options.parse({ budget: { weights: bits }, scales, samples });
      const { plan } = await sqnrAllocator.apply(model, asked, ctx);
      const proposal = [...(plan ?? [])].flatMap(([layer, { weights }]) =>
        weights?.kind === 'int' ? [{ layer, bits: weights.bits }] : [],
      );
      const yaml = proposalYaml(proposal, scales);
      return { format: 1, path: model.path ?? '', ...found, bits, proposal, yaml, notes: data.notes };
    } finally {
      await instruments.close();
    }
  });
}
