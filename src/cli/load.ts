import { checkModel } from '../graph/check.ts';
import { readModel } from '../graph/file.ts';
import type { Model } from '../graph/model.ts';
import { layerFacts } from '../graph/names.ts';
import { passes } from '../passes/index.ts';
import { bindSchedule } from '../schedule/bind.ts';
import { parseSchedule, type ScheduleContext } from '../schedule/parse.ts';
import { forTarget, type Target } from '../schedule/target.ts';
import type { Schedule } from '../schedule/types.ts';
import { readSchedule } from './schedule_file.ts';

/** Reads a model that qtool can work on. @throws QtoolError('model'). */
export async function openModel(path: string): Promise<Model> {
  const model = await readModel(path);
  checkModel(model);
  return model;
}

/**
 * A schedule checked by itself and, where they are given, against a model's layers and the metrics that will be measured, and
 * held within what a target can do.
 * @throws QtoolError('schedule').
 */
export async function loadSchedule(
  file: string,
  model?: Model,
  metrics?: ScheduleContext['metrics'],
  target?: Target,
): Promise<Schedule> {
  const parsed = parseSchedule(await readSchedule(file), file, { passes, metrics });
  const bound = model === undefined ? parsed : bindSchedule(parsed, { layers: layerFacts(model) });
  return target === undefined ? bound : forTarget(bound, target);
}
