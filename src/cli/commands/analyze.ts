import { analyzeSqnr } from '../../analyze/sqnr/analyze.ts';
import { sqnrAllocator } from '../../passes/allocate/sqnr.ts';
import type { PassContext } from '../../passes/pass.ts';
import { analysisText, proposalYaml, type AnalysisReport } from '../../report/analysis.ts';
import { openInstruments } from '../../run/context.ts';
import type { Call } from '../call.ts';
import { openModelData, type DataOptions } from '../data_options.ts';
import { exit } from '../errors.ts';
import { interruptible } from '../interrupt.ts';
import { openModel } from '../load.ts';
import { progressFor } from '../progress.ts';

export interface AnalyzeCommandOptions extends DataOptions {
  readonly data: string;
  readonly bits?: number;
  readonly minmax?: boolean;
}

/** Samples that errors are measured on where `--samples` says nothing: SQNR in dB settles within a few tenths. */
const defaultSamples = 128;

/** `qtool analyze`: what quantization noise does in a model, and the widths the closed form would give its layers. */
export async function analyze(path: string, options: AnalyzeCommandOptions, call: Call): Promise<number> {
  const model = await openModel(path);
  const samples = options.samples ?? defaultSamples;
  const data = await openModelData(model, { ...options, samples }, call);
  const progress = await progressFor(call.io, call.quiet);
  const report = await interruptible(call.io, async (signal): Promise<AnalysisReport> => {
    progress.show({ kind: 'phase', text: `analyzing ${path}` });
    const instruments = openInstruments({
      ...{ reference: model, data, metrics: [], signal },
      ...{ batchSize: options.batchSize ?? data.batchSize ?? 32, threads: options.threads, memoryLimit: undefined },
      progress: (done, text) => progress.show({ kind: 'progress', done, text }),
    });
    try {
      const clock = { epoch: 0, start: 0, end: 1, frequency: 1 };
      const ctx: PassContext = instruments.context({ plan: new Map(), twin: undefined, memory: new Map(), clock });
      const scales = options.minmax === true ? 'minmax' : 'mse';
      const found = await analyzeSqnr(ctx, model, { samples, scales, method: 'minmax' });
      const bits = options.bits ?? 4;
      const asked = sqnrAllocator.options.parse({ budget: { weights: bits }, scales, samples });
      const { plan } = await sqnrAllocator.apply(model, asked, ctx);
      const proposal = [...(plan ?? [])].flatMap(([layer, { weights }]) =>
        weights?.kind === 'int' ? [{ layer, bits: weights.bits }] : [],
      );
      const yaml = proposalYaml(proposal, scales);
      return { format: 1, path, ...found, bits, proposal, yaml, notes: data.notes };
    } finally {
      await instruments.close();
    }
  }).finally(() => progress.close());
  call.answer(report, () => analysisText(report, call.paint, call.width));
  return exit.ok;
}
