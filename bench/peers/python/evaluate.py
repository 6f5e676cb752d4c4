"""One evaluator for the models of every tool: top-1 of each, and its difference to the first model on the same samples.

    python evaluate.py <request.json>

Request: {"samples": …, "batch": 100, "models": ["float.onnx", …], "best_of": [1, 2], "output": "result.json"}.
The result has one entry a model; the difference has its paired 95 % interval (the same samples on both sides). Beside it
stands the difference to the most accurate of the models in `best_of`, paired too; `best` is its place.
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
    answers = [None if isinstance(session, str) else np.concatenate(right[at]) for at, session in enumerate(sessions)]
    able = [at for at in request.get("best_of", []) if answers[at] is not None]
    best = max(able, key=lambda at: answers[at][counted].mean(), default=None)
    for session, mine in zip(sessions, answers):
        if mine is None:
            results.append({"failure": session})
            continue
        difference, half = paired(mine, answers[0], counted)
        result = {"top1": 100 * float(mine[counted].mean()), "difference": difference, "half_interval": half}
        if best is not None:
            difference, half = paired(mine, answers[best], counted)
            result["against_best"] = {"difference": difference, "half_interval": half}
        results.append(result)
    with open(request["output"], "w", encoding="utf-8") as file:
        counts = {"counted": int(counted.sum()), "onnxruntime": ort.__version__}
        json.dump({**counts, "models": results, "best": best}, file)


main()
