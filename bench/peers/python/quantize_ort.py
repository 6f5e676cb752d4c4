"""onnxruntime's quantizer: quant_pre_process, then quantize_static to QDQ, U8 activations and S8 weights.

    python quantize_ort.py <case.json>
"""

import sys
import tempfile
from pathlib import Path

from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from samples import Reader, read_case

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}


def main():
    case = read_case(sys.argv[1])
    options = {}
    if case["method"] == "percentile":
        options["CalibPercentile"] = case["percentile"]
    if case.get("stride"):
        options["CalibStridedMinMax"] = case["stride"]  # batches held at once, in spite of its name for every method
    with tempfile.TemporaryDirectory() as folder:
        prepared = str(Path(folder) / "prepared.onnx")
        quant_pre_process(case["model"], prepared)
        quantize_static(
            prepared,
            case["output"],
            Reader(case["samples"], case["batch"]),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=case["per_channel"],
            calibrate_method=METHODS[case["method"]],
            extra_options=options,
        )


main()
