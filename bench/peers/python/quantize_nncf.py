"""NNCF's post-training quantization on its ONNX backend.

    python quantize_nncf.py <case.json>

`minmax`: ranges by the overall minimum and maximum, no bias correction, as the other tools do it. `default`: what
nncf.quantize does when told nothing (mean of batch ranges, fast bias correction). It has no entropy calibrator.
"""

import sys

import nncf
import onnx
from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
from nncf.quantization.range_estimator import RangeEstimatorParametersSet

from samples import batches, count, read_case


def main():
    case = read_case(sys.argv[1])
    size, samples = case["batch"], case["samples"]
    advanced = None
    if case["method"] == "minmax":
        advanced = AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.DISABLE,
            disable_bias_correction=True,
            activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX,
        )
    quantized = nncf.quantize(
        onnx.load(case["model"]),
        nncf.Dataset(LazyBatches(samples, size)),
        subset_size=-(-count(samples) // size),  # NNCF counts items of the dataset, which are batches here
        target_device=nncf.TargetDevice.CPU,
        advanced_parameters=advanced,
    )
    onnx.save(quantized, case["output"])


class LazyBatches:
    def __init__(self, samples, size):
        self.samples, self.size = samples, size

    def __len__(self):
        return -(-count(self.samples) // self.size)

    def __iter__(self):
        return batches(self.samples, self.size)


main()
