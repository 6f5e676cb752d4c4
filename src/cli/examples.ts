/** Lines that work as they stand where a model.onnx is, in this order. */
export const examples: Readonly<Record<string, readonly string[]>> = {
  quantize: ['qtool quantize model.onnx --schedule int8 --data random -o out'],
  eval: ['qtool eval model.onnx --data random', 'qtool eval out/model.onnx --reference model.onnx --data random'],
  compare: ['qtool compare model.onnx out/model.onnx --data random'],
  'verify-integer': [
    'qtool verify-integer out/model.onnx --data random --limit 32',
    'qtool verify-integer out/model.onnx --data random --limit 32 --schemes gemmlowp,cmsis --accumulator 16',
  ],
  bench: ['qtool bench model.onnx out/model.onnx', 'qtool bench model.onnx --batch 1 --seconds 1'],
  analyze: ['qtool analyze model.onnx --data random --samples 32'],
  inspect: ['qtool inspect model.onnx'],
  init: [
    'qtool init model.onnx -o try',
    'qtool quantize model.onnx --schedule try/schedule.yaml --data try/data.yaml -o try/out',
  ],
  check: ['qtool check int8', 'qtool check int8-accurate --model model.onnx'],
  sensitivity: [
    'qtool sensitivity model.onnx --data random --limit 64 --levels 0.5,0.8',
    'qtool sensitivity model.onnx --data random --limit 64 --quantize --widths 8,4',
  ],
  simulate: [
    'qtool simulate model.onnx --data random --limit 64 --weights nf4 --activations int8',
    'qtool simulate model.onnx --data random --limit 64 --sweep ternary int4 fp8_e4m3',
  ],
  report: ['qtool report out'],
  pack: ['qtool pack model.onnx -o model.qpack'],
  unpack: ['qtool unpack model.qpack -o same.onnx'],
  passes: ['qtool passes'],
  explain: ['qtool explain PostTrainLinearQuantizer'],
  schedules: ['qtool schedules'],
  completion: ['eval "$(qtool completion bash)"', 'qtool completion fish | source'],
  help: ['qtool help quantize'],
};
