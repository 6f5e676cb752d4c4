"""onnx-neural-compressor (Intel Neural Compressor's ONNX half, since its 3.0 a package of its own).

    python quantize_inc.py <case.json>
"""

import sys

from onnx_neural_compressor.data_reader import CalibrationDataReader
from onnx_neural_compressor.quantization import CalibrationMethod, QuantFormat, QuantType, config, quantize

from samples import Reader, count, read_case

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


class InheritedReader(Reader, CalibrationDataReader):
    pass


def main():
    case = read_case(sys.argv[1])
    settings = config.StaticQuantConfig(
        calibration_data_reader=InheritedReader(case["samples"], case["batch"]),
        calibrate_method=METHODS[case["method"]],
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=case["per_channel"],
        calibration_sampling_size=count(case["samples"]),
        execution_provider="CPUExecutionProvider",
    )
    quantize(case["model"], case["output"], settings)


main()
