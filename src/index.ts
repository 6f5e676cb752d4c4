/**
 * qtool as a library: the same steps as `qtool quantize`.
 *
 *     const model = await readModel('model.onnx');
 *     const data = await openData('data.yaml', modelInputs(model));
 *     const schedule = bindSchedule(parseSchedule(text, 'schedule.yaml', { passes }), { layers: layerFacts(model) });
 *     const report = await run({ model, schedule, scheduleText: text, data, metrics: await openMetrics(data), outDir: 'out', … });
 */

export { checkModel } from './graph/check.ts';
export type { DType, TypedArray } from './graph/dtype.ts';
export { edit, type Draft } from './graph/edit.ts';
export { readModel, writeModel } from './graph/file.ts';
export { decodeModel, encodeModel, type Model } from './graph/model.ts';
export { layerFacts, type LayerFact } from './graph/names.ts';
export { modelInputs, type ModelInput } from './graph/query.ts';

export { batches, type BatchOptions } from './data/batch.ts';
export { openData, type OpenOptions } from './data/open.ts';
export type { Decide, Question } from './data/preprocess.ts';
export { recipes, type Recipe } from './data/recipes.ts';
export type { Batch, Dataset, DatasetInfo, Feeds, RunData, Sample, Target, Tensor } from './data/types.ts';

export { openMetrics } from './metrics/index.ts';
export type { Metric, MetricInput, MetricResult } from './metrics/metric.ts';

export { passes } from './passes/index.ts';
export { anyPass, type Note, type Pass, type PassContext, type PassResult } from './passes/pass.ts';

export { bindSchedule } from './schedule/bind.ts';
export { parseSchedule } from './schedule/parse.ts';
export type { Gate, ParsedSchedule, Schedule, Stage } from './schedule/types.ts';

export { measure, type MeasureOptions } from './runtime/measure.ts';
export { openSession, type Session, type SessionOptions } from './runtime/session.ts';
export { inferShapes } from './runtime/shapes.ts';
export { latency, type Latency, type LatencyOptions } from './runtime/time.ts';

export { cost, type LayerCost, type ModelCost } from './analyze/cost.ts';

export type { RunEvent } from './run/event.ts';
export type { LayerReport, Measurement, RunReport, StageReport } from './run/report.ts';
export { decideByTrial, type RecipeTrial, type RecipeTrialOptions, type TriedRecipe } from './run/recipe_trial.ts';
export { run, type RunOptions } from './run/run.ts';

export { htmlReport } from './report/html.ts';
export { plain, type Paint } from './report/paint.ts';
export { textReport, type TextOptions } from './report/text.ts';

export { QtoolError, type ErrorCode } from './util/error.ts';
export { jsonText } from './util/json.ts';
