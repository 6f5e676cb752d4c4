"""Reads the samples of a case as a Python user would: Pillow and numpy, one batch at a time.

A case is the JSON that run.mjs writes: `samples` lists what to read, in order, with labels where known.

    {"kind": "images", "root": "/…", "files": ["cat/a.png"], "labels": [3], "input": "input",
     "crop": 224, "divide": 255, "mean": [..3], "std": [..3]}
    {"kind": "arrays", "file": "/…/x.npz", "inputs": {"chars": "chars"}, "labels": "labels", "count": 512}
"""

import json
import os

import numpy as np
from PIL import Image


def read_case(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def count(samples):
    return samples["count"] if samples["kind"] == "arrays" else len(samples["files"])


def image(path, spec):
    """File -> float32 [3, height, width], RGB."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
    crop = spec.get("crop")
    if crop:
        left, top = round((picture.width - crop) / 2), round((picture.height - crop) / 2)  # as torchvision does
        picture = picture.crop((left, top, left + crop, top + crop))
    x = np.asarray(picture, np.float32) / np.float32(spec["divide"])
    x = (x - np.asarray(spec["mean"], np.float32)) / np.asarray(spec["std"], np.float32)
    return x.transpose(2, 0, 1)


def feeds(samples, start, stop):
    """Model inputs of samples [start, stop), leading axis = batch."""
    if samples["kind"] == "images":
        paths = [os.path.join(samples["root"], file) for file in samples["files"][start:stop]]
        batch = np.stack([image(path, samples) for path in paths])
        return {samples["input"]: np.ascontiguousarray(batch)}
    with np.load(samples["file"]) as arrays:
        return {name: arrays[key][start:stop] for name, key in samples["inputs"].items()}


def labels(samples):
    """Labels of all samples: [N] or [N, positions], -1 = not counted."""
    if samples["kind"] == "images":
        return np.asarray(samples["labels"])
    with np.load(samples["file"]) as arrays:
        return arrays[samples["labels"]]


def batches(samples, size):
    for start in range(0, count(samples), size):
        yield feeds(samples, start, min(start + size, count(samples)))


class Reader:
    """The calibration reader that onnxruntime.quantization and its relatives ask for."""

    def __init__(self, samples, size):
        self.samples, self.size = samples, size
        self.set_range(0, len(self))

    def __len__(self):
        return -(-count(self.samples) // self.size)

    def set_range(self, start_index, end_index):
        """Batches [start_index, end_index) only: what `CalibStridedMinMax` calls."""
        self.next, self.end = start_index, end_index

    def get_next(self):
        if self.next >= self.end:
            return None
        start = self.next * self.size
        self.next += 1
        return feeds(self.samples, start, min(start + self.size, count(self.samples)))

    def rewind(self):
        self.set_range(0, len(self))
