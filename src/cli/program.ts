import { Option, type Command } from 'commander';
import { callOf, type CommonOptions } from './call.ts';
import { QtoolCommand, withExamples } from './command.ts';
import type { Io } from './io.ts';
import { examples } from './examples.ts';
import { declareLookups, type Declare, type Runs } from './lookups.ts';
import { QtoolError } from '../util/error.ts';
import {
  entropies,
  mostThreads,
  numberOption,
  wholeNumber,
  withCommon,
  withData,
  withPreprocessing,
} from './options.ts';

/**
 * Declares every command. Their code is imported when they are called, never before: `qtool --help` answers at once.
 * A new command is one file under commands/ and one entry here.
 */
export function buildProgram(io: Io, version: string, finish: (code: number) => void): Command {
  const program = new QtoolCommand('qtool');
  // Commands inherit these three only when they are made afterwards.
  program
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout(text),
      writeErr: (text) => io.stderr(text),
      outputError: (text, write) => write(`qtool: ${oneLine(text)}\n`),
      getOutHelpWidth: () => Math.min(io.columns ?? 100, 120),
      getErrHelpWidth: () => Math.min(io.columns ?? 100, 120),
      getOutHasColors: () => false,
      getErrHasColors: () => false,
    })
    .showHelpAfterError('  hint: add --help to see what is possible');
  program
    .description(
      'Compress ONNX models by schedules of pruning and quantization, measured by onnxruntime after every stage.',
    )
    .version(version, '-v, --version')
    .helpCommand(false)
    .addHelpText(
      'after',
      '\nExit codes: 0 fine, 1 a gate failed, 2 something to mend, 70 a bug in qtool,\n130 interrupted.',
    );

  const declare: Declare = (usage, summary, description) =>
    program.command(usage).summary(summary).description(description);
  const runs: Runs = (command, load) => {
    // Commander gives the arguments, the options and the command itself.
    command.action(async (...given: unknown[]) => {
      const args = given.slice(0, -1);
      refuseEmpty(command, args);
      const call = await callOf(io, args.at(-1) as CommonOptions);
      const run = await load();
      finish(await run(...([...args, call] as never[])));
    });
  };

  const quantize = declare(
    'quantize <model>',
    'compress a model by a schedule and measure every stage',
    'Compress a model by a schedule, measure it after every stage, and write model and report to a folder.',
  )
    .requiredOption('--schedule <file or name>', 'a YAML file, or the name of one under schedules/')
    .requiredOption('-o, --output <dir>', 'folder for model.onnx, report.json, report.html, schedule.yaml, qtool.log');
  withCommon(withData(quantize))
    .option('--target <file or name>', 'hold options within what it can do: a name under configs/targets/, or auto')
    .option('--force', 'replace what an earlier run left in the output folder')
    .addOption(
      new Option(
        '--resume',
        'go on with a run that trains and was cut off in the output folder, from its last epoch',
      ).conflicts('force'),
    ) // prettier-ignore
    .option('--dry-run', 'check everything and print the plan, run nothing')
    .option('--no-measure', 'apply the stages without measuring them (gates cannot hold then)')
    .option('--no-latency', 'measure no latency')
    .option('--gzip', 'measure the result under gzip and brotli above 64 MB too')
    .option('--no-cache', 'collect calibration statistics anew, and keep none in the output folder')
    .addOption(
      new Option(
        '--device <name>',
        'what steps of training run on (default: cpu); without a WebGPU adapter the CPU',
      ).choices(['cpu', 'webgpu']),
    )
    .addOption(numberOption('--samples <n>', 'calibrate with n samples', 1, 'Data:'));
  runs(quantize, async () => (await import('./commands/quantize.ts')).quantize);

  const evaluate = declare(
    'eval <model>',
    'measure a model on data, also against a float model',
    'Measure accuracy, size and speed of a model, and its distance from a float model where one is given.',
  )
    .option('--reference <float.onnx>', 'the float model to compare with')
    .option(
      '--exit-threshold <nats>',
      'entropy up to which samples leave early, one for all exits or one each: 0.4 or 0.4,0.2',
      entropies,
    ) // prettier-ignore
    .option('--no-latency', 'measure no latency');
  runs(withCommon(withData(evaluate)), async () => (await import('./commands/eval.ts')).evaluate);

  const comparison = declare(
    'compare <first> <second>',
    'compare two forms of one model: outputs, layers, size and speed',
    'Run two forms of one model on the same samples: how far the outputs of the second are from those of the first, the first layer where they part, the error of every layer, size and speed.',
  ).option('--no-latency', 'measure no latency');
  runs(withCommon(withData(comparison)), async () => (await import('./commands/compare.ts')).compare);

  const integers = declare(
    'verify-integer <model>',
    'execute an int8 model in exact integers, as devices with other requantizations do',
    'Execute a statically quantized model in exact integers under the requantizations of gemmlowp, QNNPACK, CMSIS-NN and others, beside onnxruntime: where codes differ and what it costs, the accumulator bits that each layer needs, 16-bit saturation on x64 without VNNI, and energy.',
  )
    .option('--schemes <names>', 'requantizations to run, separated by commas (default: all)')
    .option('--multiplier-bits <n>', 'of the plain multiplier and shift (default: 8)', wholeNumber(2, 31))
    .option('--accumulator <bits>', 'run with accumulators of so many bits too, such as 16', wholeNumber(8, 31));
  runs(withCommon(withData(integers)), async () => (await import('./commands/verify_integer.ts')).verify);

  const benchmark = declare(
    'bench <model...>',
    'measure load time, memory, latency and throughput, of several models in turn',
    'Measure how long models take to load and to run and what memory they need; several of the same inputs run in turn.',
  )
    .option('--data <config or folder>', 'take the sample from here; without it a random one is made up')
    .option('--data-root <folder>', 'where relative paths in the data config start')
    .option('--allow-modules', 'run a module that gives the sample')
    .option('--batch <sizes>', 'batch sizes to run at', '1,32')
    .option('--threads <n>', 'threads within one operator (default: 1)', wholeNumber(1, mostThreads))
    .option('--seconds <n>', 'for each model and batch size (default: 2; 0: five runs)', wholeNumber(0));
  runs(withCommon(withPreprocessing(benchmark)), async () => (await import('./commands/bench.ts')).benchCommand);

  const analysis = declare(
    'analyze <model>',
    'show what quantization noise does in a model, and propose widths',
    'Show the SQNR of every weight and activation at 2 to 8 and 16 bits, what of the noise reaches the output, and whether it adds up there; propose a width for each layer.',
  )
    .addOption(numberOption('--bits <n>', 'mean bits a weight of the proposed widths (default: 4)', 2, 'Analysis:'))
    .option('--minmax', 'weight scales from the extremes instead of the least squared error');
  withCommon(withData(analysis)).addOption(
    numberOption('--samples <n>', 'calibration samples (default: 128)', 1, 'Data:'),
  );
  runs(analysis, async () => (await import('./commands/analyze.ts')).analyze);

  const inspect = declare(
    'inspect <model>',
    'show inputs, outputs, layers, shapes, parameters, MACs, bytes and zeros',
    'Show what is in a model. Shapes are those of one sample: of one run on the data, or inferred without any.',
  )
    .option('--data <config or folder>', 'see the shapes in a run on a sample of these data')
    .option('--zeros', 'count zeros in files above 64 MB too, of which all weights are read for it')
    .option('--data-root <folder>', 'where relative paths in the data config start')
    .option('--allow-modules', 'run a module that gives the sample');
  runs(withCommon(withPreprocessing(inspect)), async () => (await import('./commands/inspect.ts')).inspect);

  const init = declare(
    'init <model>',
    'look at a model and its data, and write a data config and a schedule that run',
    'Look at a model and its data, and write data.yaml and schedule.yaml, which run as they are: the preprocessing that the model is best with, and the shipped schedule that fits its layers.',
  )
    .option('--data <folder or file>', 'the data; without it random input, to try things out')
    .option('--allow-modules', 'run a module that gives the data')
    .option('--schedule <name>', 'begin from this schedule instead of one that fits the model')
    .option('-o, --output <dir>', 'folder for the two files', '.')
    .option('--force', 'write over files that are there');
  runs(withCommon(withPreprocessing(init)), async () => (await import('./commands/init.ts')).init);

  const check = declare(
    'check <schedule>',
    'check a schedule, also against a model, and print its plan',
    'Check a schedule without running it and print its plan. With a model its selectors are checked too.',
  )
    .option('--model <model.onnx>', 'the model the schedule is for')
    .option('--target <file or name>', 'hold options within what it can do: a name under configs/targets/, or auto');
  runs(withCommon(check), async () => (await import('./commands/check.ts')).check);

  const sensitivity = declare(
    'sensitivity <model>',
    'measure how much each layer bears, and find the levels that meet a budget',
    'Prune each layer alone to several sparsities and measure the model. With a budget: the levels that meet it at the least drop, and the schedule to paste. With --quantize: the weights of each layer, and each activation, alone in several widths.',
  )
    .addOption(
      new Option('--quantize', 'quantize each tensor alone, instead of pruning').conflicts([
        'class',
        'levels',
        'budget',
      ]),
    )
    .option('--widths <bits>', 'with --quantize: widths to try (default: 8,6,4)')
    .option('--class <pruner>', 'a class that takes levels, such as ChannelPruner', 'SparsityLevelParameterPruner')
    .option('--levels <shares>', 'sparsities to try', '0.2,0.4,0.5,0.6,0.7,0.8,0.9')
    .option('--layers <selectors>', 'layers to try, separated by commas', '*')
    .option('--metric <name>', 'what is measured (default: the first metric of the data)')
    .option('--budget <unit=share>', 'what may stay: parameters, macs, bytes or latency, such as macs=0.7')
    .option('-o, --output <dir>', 'folder for sensitivity.json, .csv, .html and schedule.yaml')
    .option('--force', 'write into a folder that is not empty');
  withCommon(withData(sensitivity)).addOption(
    numberOption('--samples <n>', 'calibrate with the first n samples only', 1, 'Data:'),
  );
  runs(sensitivity, async () => (await import('./commands/sensitivity.ts')).sensitivityCommand);

  const simulation = declare(
    'simulate <model>',
    'measure a model in other number formats, one or a list of them',
    'Hold weights and what layers read in number formats (docs/formats.md) and measure the model in onnxruntime. With --sweep: one format after the other, in one table and one chart.',
  )
    .option('--weights <format>', 'of the weights: nf4, int4, minifloat:exponent=4,mantissa=3')
    .option('--activations <format>', 'of what layers read')
    .addOption(
      new Option('--sweep <format...>', 'formats of weights, one after the other; all: every one').conflicts('weights'),
    ) // prettier-ignore
    .option('--layers <selectors>', 'layers that are held so, separated by commas', '*')
    .addOption(new Option('--importance <what>', 'what an error of a weight counts').choices(['none', 'inputs']))
    .option('-o, --output <dir>', 'folder for simulate.json, .csv and .html')
    .option('--force', 'write into a folder that is not empty');
  withCommon(withData(simulation)).addOption(
    numberOption('--samples <n>', 'calibrate with the first n samples only', 1, 'Data:'),
  );
  runs(simulation, async () => (await import('./commands/simulate.ts')).simulateCommand);

  const report = declare(
    'report <run...>',
    "make a run's report.html again, or compare several runs on one page",
    'Make report.html again from the report.json in the folder of a run; with several folders, one page that compares them.',
  )
    .option('-o, --output <file>', 'the page to write (default: report.html of the run, or compare.html)')
    .option('--force', 'write over a file that is no page of qtool');
  runs(withCommon(report), async () => (await import('./commands/report.ts')).reportCommand);

  const packing = declare(
    'pack <model>',
    'store a model as small as it goes, to be sent and kept',
    'Store a model and its external data in one archive, each tensor by the coder that makes it smallest. Nothing is lost: the archive is unpacked and compared before it is written.',
  )
    .requiredOption('-o, --output <file>', 'the archive to write, such as model.qpack')
    .option('--no-compare', 'do not compress the same by brotli and zstd, which takes longer than packing')
    .option('--force', 'write over a file that is there');
  runs(withCommon(packing), async () => (await import('./commands/pack.ts')).pack);

  const unpacking = declare(
    'unpack <archive>',
    'give back a model out of an archive, byte for byte',
    'Give back the model that qtool pack stored, byte for byte, with its external data beside it.',
  )
    .requiredOption('-o, --output <file>', 'the model to write')
    .option('--force', 'write over files that are there');
  runs(withCommon(unpacking), async () => (await import('./commands/pack.ts')).unpack);

  declareLookups(program, declare, runs, finish);
  for (const command of program.commands) withExamples(command, ...(examples[command.name()] ?? []));
  return program;
}

/** A text of nothing is a variable of the shell that is not set, never what was meant: as a folder it would be the one at hand. */
function refuseEmpty(command: Command, args: readonly unknown[]): void {
  const options = Object.entries(command.opts<Record<string, unknown>>());
  const [option] = options.find(([, value]) => value === '') ?? [];
  const flags = command.options.find((one) => one.attributeName() === option)?.flags;
  if (flags === undefined && !args.flat().includes('')) return;
  throw new QtoolError('usage', `${flags ?? 'an argument'} is empty`, { hint: 'is a variable of the shell not set?' });
}

/** Commander's message without its own prefix and line breaks: every error of qtool is one line and a hint. */
function oneLine(text: string): string {
  return text
    .trim()
    .replace(/^error: /, '')
    .replace(/\s*\n\s*/g, ' ');
}
