#!/usr/bin/env node
// The size/accuracy curve of mixed bit-widths against uniform ones, activations in 8 bits, bytes on disk after packing.
//
//   npm run build && node bench/allocation.mjs <folder with models/ and data/cifar10/> [nets=resnet20,resnet56,lenet-5,lenet-300-100]
//     [--limit 5000] [--uniform 8,6,5,4] [--budgets 2.5,3,3.5,4] [--scales mse,coded] [--methods uniform,even,equal,closed,repaired,knapsack]
//     [--rounding descent] [--samples 128] [--seconds 60] [--out file.json]
//
// Every model, uniform or allocated, gets the same treatment: the same 512 calibration samples, AdaRound on 256 of them
// (--rounding nearest: none), and the packed file. Fixed widths have scales of least squared error, coded ones their step; `even`
// gives every layer the same coded rate, which tells what coding wins from what allocation does.
// Nothing is chosen on the test images: damages and repairs look at the outputs on calibration images only.
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { batches } from '../dist/data/batch.js';
import { openData } from '../dist/data/open.js';
import { readModel } from '../dist/graph/file.js';
import { encodeModel } from '../dist/graph/model.js';
import { modelInputs } from '../dist/graph/query.js';
import { passes } from '../dist/passes/index.js';
import { openInstruments } from '../dist/run/context.js';
import { withSession } from '../dist/runtime/session.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const words = process.argv.slice(2);
const flag = (name, otherwise) => {
  const at = words.indexOf(`--${name}`);
  return at < 0 ? otherwise : words.splice(at, 2)[1];
};
const limit = Number(flag('limit', '5000'));
const budgets = flag('budgets', '2.25,2.5,2.75,3,3.25,3.5,4,5').split(',').map(Number);
const uniform = flag('uniform', '8,7,6,5,4,3,2').split(',').map(Number);
const methods = flag('methods', 'uniform,equal,closed,repaired,knapsack').split(',');
const rounding = flag('rounding', 'descent');
const scales = flag('scales', 'mse,coded').split(',');
const samples = Number(flag('samples', '128'));
const seconds = Number(flag('seconds', '60'));
const out = flag('out', undefined);
const [folder, names = 'lenet-300-100,lenet-5,resnet20,resnet56'] = words;
if (folder === undefined) {
  console.error(
    'usage: node bench/allocation.mjs <folder with models/ and data/> [nets] [--limit n] [--budgets 3,4] [--out file]',
  );
  process.exit(2);
}
const nets = {
  resnet20: {
    model: join(folder, 'models/resnet20_cifar10.onnx'),
    config: 'cifar10',
    root: join(folder, 'data/cifar10'),
  },
  resnet56: {
    model: join(folder, 'models/resnet56_cifar10.onnx'),
    config: 'cifar10',
    root: join(folder, 'data/cifar10'),
  },
  'lenet-5': { model: join(root, 'examples/mnist/lenet-5.onnx'), config: 'mnist' },
  'lenet-300-100': { model: join(root, 'examples/mnist/lenet-300-100.onnx'), config: 'mnist' },
};

const find = (name) => passes.find((pass) => pass.classes.includes(name));
const encoder = find('WeightEncoder');
const signal = new AbortController().signal;
const results = [];

for (const name of names.split(',')) {
  const net = nets[name];
  const model = await readModel(net.model);
  const inputs = modelInputs(model);
  const opened = await openData(join(root, 'configs', `${net.config}.yaml`), inputs, {
    root: net.root,
    calibrationSamples: 512,
    validationSamples: limit,
    classes: 10,
  });
  // Decoded once: dozens of models see the same images.
  const [calibration, validation] = [await held(opened.calibration), await held(opened.validation)];
  const tools = openInstruments({
    ...{
      reference: model,
      data: { ...opened, calibration, validation },
      metrics: [],
      batchSize: 32,
      threads: 1,
      signal,
    },
    ...{ memoryLimit: undefined, progress: () => undefined },
  });
  const memories = new Map();
  const apply = (pass, on, options, state = {}) => {
    const clock = { epoch: 0, start: 0, end: 1, frequency: 1 };
    // One memory a class, as a schedule's instance has: another budget needs no other measurement of damages.
    if (!memories.has(pass)) memories.set(pass, new Map());
    const context = tools.context({ plan: new Map(), twin: undefined, memory: memories.get(pass), clock, ...state });
    return pass.apply(on, pass.options.parse(options), context);
  };
  const correct = async (candidate) => {
    const right = [];
    await withSession(candidate, { threads: 1 }, async (session) => {
      for await (const batch of batches(validation, { batchSize: 100 })) {
        const [logits] = Object.values(await session.run(batch.feeds));
        for (let i = 0; i < batch.count; i++) {
          const row = logits.data.subarray(i * 10, i * 10 + 10);
          right.push(row.indexOf(Math.max(...row)) === batch.targets[i].label[0] ? 1 : 0);
        }
      }
    });
    return Uint8Array.from(right);
  };
  const reference = await correct(model);
  const share = (bits) => (100 * bits.reduce((a, b) => a + b, 0)) / bits.length;
  console.log(
    `\n${name}: float ${share(reference).toFixed(2)} %, ${encodeModel(model).length} bytes, ${reference.length} test images`,
  );
  const points = [];

  /** Quantizes by a plan (or uniformly), recovers, packs, counts and measures. */
  const finish = async (method, budget, plan, bits, searchSeconds) => {
    const began = performance.now();
    const quantized = await apply(
      find('PostTrainLinearQuantizer'),
      model,
      { bits_weights: bits, weight_scales: 'mse' },
      { plan },
    );
    let last = quantized.model;
    const state = { plan, twin: quantized.twin };
    if (rounding === 'descent') last = (await apply(find('AdaRound'), last, { samples: 256 }, state)).model;
    const right = await correct(last);
    const packed = encoder ? (await apply(encoder, last, {}, state)).model : undefined;
    const widths = [...plan.values()].map((format) => format.weights.bits);
    const point = {
      net: name,
      method,
      budget,
      bytes: encodeModel(packed ?? last).length,
      top1: share(right),
      widths,
      right,
    };
    points.push(point);
    results.push({
      ...point,
      right: undefined,
      drop: share(reference) - share(right),
      interval: paired(reference, right),
      searchSeconds,
    });
    const seconds = ((performance.now() - began) / 1000).toFixed(0);
    console.log(
      `${name} ${method.padEnd(14)} ${String(budget).padEnd(5)} ${String(point.bytes).padStart(8)} bytes  top-1 ${point.top1.toFixed(2)}  drop ${(share(reference) - point.top1).toFixed(2)} ± ${paired(reference, right).toFixed(2)}  (search ${searchSeconds.toFixed(0)} s, rest ${seconds} s) ${widths.join(' ')}`,
    );
  };

  if (methods.includes('uniform')) for (const bits of uniform) await finish('uniform', bits, new Map(), bits, 0);
  for (const [weights, scale] of scales.flatMap((s) => budgets.map((b) => [b, s]))) {
    // Fixed widths are integers of 2 bits or more.
    if (scale !== 'coded' && weights < 2) continue;
    const common = { budget: { weights }, rounding, samples, scales: scale };
    const named = (method) => (scale === 'coded' ? `${method} coded` : method);
    const timed = async (work) => {
      const began = performance.now();
      const { plan } = await work();
      return [plan, (performance.now() - began) / 1000];
    };
    if (methods.includes('even') && scale === 'coded') {
      const [plan] = await timed(() =>
        apply(find('SqnrAllocator'), model, { ...common, widths: [weights], gains: 'equal' }),
      );
      await finish('even coded', weights, plan, 8, 0);
    }
    if (methods.includes('equal')) {
      const [plan, seconds] = await timed(() => apply(find('SqnrAllocator'), model, { ...common, gains: 'equal' }));
      await finish(named('equal'), weights, plan, 8, seconds);
    }
    if (methods.includes('closed') || methods.includes('repaired')) {
      const [plan, seconds] = await timed(() => apply(find('SqnrAllocator'), model, common));
      if (methods.includes('closed')) await finish(named('closed'), weights, plan, 8, seconds);
      if (methods.includes('repaired')) {
        const [better, more] = await timed(() =>
          apply(find('RepairAllocator'), model, { rounding, samples, seconds }, { plan }),
        );
        await finish(named('repaired'), weights, better, 8, seconds + more);
      }
    }
    if (methods.includes('knapsack')) {
      const [plan, seconds] = await timed(() => apply(find('SensitivityAllocator'), model, common));
      await finish(named('knapsack'), weights, plan, 8, seconds);
    }
    if (out) await writeFile(out, JSON.stringify(results, undefined, 1));
  }
  await tools.close();
  console.log(summary(name, points, reference));
  if (out) await writeFile(out, JSON.stringify(results, undefined, 1));
}

/** Half the 95 % interval of a difference of accuracies on the same images, in points. */
function paired(a, b) {
  let [sum, squares] = [0, 0];
  a.forEach((v, i) => {
    sum += v - b[i];
    squares += (v - b[i]) ** 2;
  });
  const mean = sum / a.length;
  return 196 * Math.sqrt((squares / a.length - mean * mean) / a.length);
}

/** For every uniform width: is some allocated model of no more bytes at least as accurate, and how small is one as accurate? */
function summary(name, points, reference) {
  const lines = [];
  const plain = points.filter((p) => p.method === 'uniform');
  const others = points.filter((p) => p.method !== 'uniform');
  const difference = (p, q) => {
    const mean = p.right.reduce((sum, v, i) => sum + v - q.right[i], 0) / p.right.length;
    return [100 * mean, paired(p.right, q.right)];
  };
  for (const u of plain) {
    const fits = others.filter((p) => p.bytes <= u.bytes).sort((a, b) => b.top1 - a.top1)[0];
    const equal = others.filter((p) => {
      const [gain, interval] = difference(p, u);
      return gain >= -interval;
    });
    const smallest = equal.sort((a, b) => a.bytes - b.bytes)[0];
    lines.push(
      `${name} uniform ${u.budget}: ${u.bytes} bytes, ${u.top1.toFixed(2)} %` +
        (fits ? `; in no more bytes ${fits.method} ${fits.budget}: ${fits.top1.toFixed(2)} %` : '; none as small') +
        (smallest
          ? `; as accurate (paired) ${smallest.method} ${smallest.budget}: ${smallest.bytes} bytes, ${(100 * (1 - smallest.bytes / u.bytes)).toFixed(1)} % smaller`
          : ''),
    );
  }
  const lossless = (p) => (100 * (sumOf(reference) - sumOf(p.right))) / reference.length <= paired(reference, p.right);
  const best = (list) => list.filter(lossless).sort((a, b) => a.bytes - b.bytes)[0];
  const [u, a] = [best(plain), best(others)];
  if (u && a)
    lines.push(
      `${name} smallest within the paired interval of float: uniform ${u.budget} with ${u.bytes} bytes, ${a.method} ${a.budget} with ${a.bytes} (${(100 * (1 - a.bytes / u.bytes)).toFixed(1)} % smaller)`,
    );
  return lines.join('\n');
}

function sumOf(list) {
  return list.reduce((a, b) => a + b, 0);
}

/** A dataset whose samples are in memory. */
async function held(set) {
  const samples = [];
  for await (const sample of set.samples()) samples.push(sample);
  return {
    ...set,
    samples: async function* (most = Infinity) {
      yield* samples.slice(0, most);
    },
  };
}
