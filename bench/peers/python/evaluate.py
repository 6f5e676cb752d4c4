"""One evaluator for the models of every tool: top-1 of each, and its difference to the first model on the same samples.

    python evaluate.py <request.json>

Request: {"samples": …, "batch": 100, "models": ["float.onnx", …], "output": "result.json"}.
The result has one entry a model; the difference has its paired 95 % interval (the same samples on both sides).
"""

import json
import math
import sys

import numpy as np
import onnxruntime as ort

from samples import batches, labels, read_case


def open_session(path):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def first_line(error):
    return str(error).splitlines()[0][:200]


def paired(mine, reference, counted):
    """Difference of two accuracies in points and half its 95 % interval.

    Both are [samples, positions]; the interval comes from the spread over samples, since the positions of one sample (the
    phonemes of one word) go wrong together.
    """
    each = ((mine.astype(float) - reference) * counted).sum(1)
    total = counted.sum()
    deviation = math.sqrt(len(each)) * each.std() / total
    return 100 * each.sum() / total, 100 * 1.96 * deviation


def main():
    request = read_case(sys.argv[1])
    samples, truth = request["samples"], labels(request["samples"])
    truth = truth.reshape(len(truth), -1)  # [samples, positions]
    counted = truth >= 0
    results, sessions = [], []
    for path in request["models"]:
        try:
            sessions.append(open_session(path))
        except Exception as error:  # a model that does not load is a result
            sessions.append(f"does not load: {first_line(error)}")
    right = [[] for _ in sessions]
    position = 0
    for feed in batches(samples, request["batch"]):
        size = len(next(iter(feed.values())))
        expected = truth[position : position + size]
        position += size
        for at, session in enumerate(sessions):
            if isinstance(session, str):
                continue
            try:
                right[at].append(session.run(None, feed)[0].argmax(-1).reshape(size, -1) == expected)
            except Exception as error:
                sessions[at] = f"does not run: {first_line(error)}"
    reference = np.concatenate(right[0])
    for at, session in enumerate(sessions):
        if isinstance(session, str):
            results.append({"failure": session})
            continue
        mine = np.concatenate(right[at])
        difference, half = paired(mine, reference, counted)
        results.append({"top1": 100 * float(mine[counted].mean()), "difference": difference, "half_interval": half})
    with open(request["output"], "w", encoding="utf-8") as file:
        json.dump({"counted": int(counted.sum()), "onnxruntime": ort.__version__, "models": results}, file)


main()
