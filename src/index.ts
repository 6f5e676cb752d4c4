/**
 * qtool as a library (docs/library.md): one call each for what the commands do, and what a pass, a metric or a dataset of one's own needs.
 *
 *     const { model, report } = await compress({ model: 'model.onnx', schedule: 'int8', data: samples });
 */

export { analyze, type AnalyzeOptions } from './api/analyze.ts';
export { pack, unpack, type PackOptions, type UnpackOptions } from './api/archive.ts';
export { compare, type CompareOptions } from './api/compare.ts';
export { compress, type Compressed, type CompressedFile, type CompressOptions } from './api/compress.ts';
export type { DataGiven, DataOptions, MetricGiven, PreprocessingOptions } from './api/data.ts';
export { evaluate, type EvaluateOptions } from './api/evaluate.ts';
export type { ModelGiven, Watch } from './api/given.ts';
export { openEarlyExits, splitExits, type ExitReaderOptions, type ExitsOptions } from './api/exits.ts';
export { inspect, type InspectOptions } from './api/inspect.ts';
export { verifyInteger, type VerifyIntegerOptions } from './api/verify_integer.ts';
export { simulate, type SimulateOptions } from './api/simulate.ts';
export type { ScheduleGiven } from './api/schedule.ts';

export type { SampleGiven, Samples, SampleSets, TensorGiven } from './data/given.ts';
export { recipes, type Recipe } from './data/recipes.ts';
export type { Batch, DatasetInfo, Feeds, Tensor } from './data/types.ts';
export type { MetricInput, MetricResult } from './metrics/metric.ts';
export type { UserMetric } from './metrics/module.ts';
export type { RunEvent } from './run/event.ts';
export type { RecipeTrial } from './run/recipe_trial.ts';

export type { Exit } from './graph/exits.ts';
export type { ExitAnswer, ExitReader } from './runtime/exits.ts';
export type { ExitUse, ExitUses } from './analyze/exits.ts';
export type { AnalysisReport } from './report/analysis.ts';
export type { IntegerReport } from './report/integer.ts';
export type { ArchivedTensorReport, PackReport, UnpackReport } from './report/archive.ts';
export type { EvalReport } from './report/eval.ts';
export { htmlReport } from './report/html.ts';
export type { InspectReport } from './report/inspect.ts';
export { plain, type Paint } from './report/paint.ts';
export { textReport, type TextOptions } from './report/text.ts';
export type { CompareReport } from './run/compare.ts';
export type { SimulateReport } from './run/simulate.ts';
export type { LayerReport, Measurement, RunReport, StageReport } from './run/report.ts';

export { checkModel } from './graph/check.ts';
export type { DType, TypedArray } from './graph/dtype.ts';
export { readModel, writeModel } from './graph/file.ts';
export { decodeModel, encodeModel, type Model } from './graph/model.ts';

// What a pass reads and writes.
export {
  attribute,
  floatAttribute,
  intAttribute,
  intsAttribute,
  stringAttribute,
  type AttributeValue,
} from './graph/attribute.ts';
export { makeModel, makeNode, makeValue, type ModelParts } from './graph/build.ts';
export { edit, type Draft } from './graph/edit.ts';
export { layers, type Layer, type Reader, type Weight } from './graph/layer.ts';
export type { NodeProto, TensorProto, ValueInfoProto } from './graph/proto.ts';
export { consumers, initializers, isOp, layerName, modelInputs, producers, type ModelInput } from './graph/query.ts';
export { dimsOf, floatData, makeTensor, tensorData, typeOf } from './graph/tensor.ts';
export { anyPass, type Note, type Pass, type PassContext, type PassResult, type Section } from './passes/pass.ts';
export { passes } from './passes/index.ts';
export { z } from 'zod';

export { QtoolError, type ErrorCode } from './util/error.ts';
export { jsonText } from './util/json.ts';
