"""Training steps of an ONNX file in PyTorch, eager, one thread: the other side of bench/training.mjs.

    python train_step.py <folder with net.onnx, batch.json, x.bin>

Reads numbers of steps from its input, a line each, and answers with CPU milliseconds a step, the loss and the memory that was added. The
file is read by the few fields of onnx.proto that the nets of training_nets.mjs have; every operator of theirs is one of `run`.
"""

import json
import struct
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

torch.set_num_threads(1)


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def message(data):
    """Protocol buffer -> field number: list of numbers and bytes."""
    fields, at = {}, 0
    while at < len(data):
        key, at = varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 5:
            value, at = data[at : at + 4], at + 4
        elif kind == 1:
            value, at = data[at : at + 8], at + 8
        else:
            size, at = varint(data, at)
            value, at = data[at : at + size], at + size
        fields.setdefault(key >> 3, []).append(value)
    return fields


def whole(values):
    """Integers, packed or not."""
    result = []
    for value in values:
        if isinstance(value, int):
            result.append(value)
            continue
        at = 0
        while at < len(value):
            one, at = varint(value, at)
            result.append(one)
    return [v - 2**64 if v >= 2**63 else v for v in result]


def text(fields, number):
    return fields[number][0].decode() if number in fields else ""


def tensor(data):
    fields = message(data)
    kind = np.float32 if fields[2][0] == 1 else np.int64
    return text(fields, 8), torch.from_numpy(np.frombuffer(bytes(fields[9][0]) if 9 in fields else b"", kind).copy().reshape(whole(fields.get(1, []))))


def attribute(data):
    fields = message(data)
    kind = fields[20][0]
    value = struct.unpack("<f", fields[2][0])[0] if kind == 1 else whole(fields.get(3, [0]))[0] if kind == 2 else text(fields, 4) if kind == 3 else whole(fields.get(8, []))  # fmt: skip
    return text(fields, 1), value


def read(path):
    with open(path, "rb") as file:
        graph = message(message(memoryview(file.read()).tobytes())[7][0])
    nodes = []
    for data in graph[1]:
        fields = message(data)
        nodes.append((text(fields, 4), [v.decode() for v in fields.get(1, [])], fields[2][0].decode(), dict(map(attribute, fields.get(5, [])))))  # fmt: skip
    return nodes, dict(map(tensor, graph[5])), text(message(graph[12][0]), 1)


def run(nodes, values):
    for op, inputs, output, a in nodes:
        x = [values[name] for name in inputs]
        if op == "Conv":
            y = F.conv2d(x[0], x[1], x[2] if len(x) > 2 else None, a["strides"], a["pads"][:2], 1, a["group"])
        elif op == "BatchNormalization":
            y = F.batch_norm(x[0], x[3], x[4], x[1], x[2], True, 0.1, 1e-5)
        elif op == "Relu":
            y = F.relu(x[0])
        elif op == "Clip":
            y = x[0].clamp(x[1].item(), x[2].item())
        elif op == "MaxPool":
            y = F.max_pool2d(x[0], a["kernel_shape"], a["strides"])
        elif op == "GlobalAveragePool":
            y = F.adaptive_avg_pool2d(x[0], 1)
        elif op == "Flatten":
            y = x[0].flatten(1)
        elif op == "Gemm":
            y = F.linear(x[0], x[1], x[2])
        elif op == "MatMul":
            y = torch.matmul(x[0], x[1])
        elif op == "Add":
            y = x[0] + x[1]
        elif op == "Div":
            y = x[0] / x[1]
        elif op == "Gather":
            y = F.embedding(x[1], x[0])
        elif op == "Reshape":
            y = x[0].reshape(x[1].tolist())
        elif op == "Transpose":
            y = x[0].permute(a["perm"])
        elif op == "Softmax":
            y = x[0].softmax(a["axis"])
        elif op == "LayerNormalization":
            y = F.layer_norm(x[0], x[1].shape, x[1], x[2])
        elif op == "Gelu":
            y = F.gelu(x[0])
        elif op == "ReduceMean":
            y = x[0].mean(x[1].tolist(), False)
        elif op == "Slice":
            y = x[0][:, :, ::2, ::2]
        elif op == "Pad":
            pads = x[1].tolist()
            y = F.pad(x[0], [0, 0, 0, 0, pads[1], pads[5]])
        else:
            raise NotImplementedError(op)
        values[output] = y


def memory(field):
    with open("/proc/self/status", encoding="utf-8") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field + ":"))


def main(folder):
    nodes, tensors, output = read(folder + "/net.onnx")
    with open(folder + "/batch.json", encoding="utf-8") as file:
        meta = json.load(file)
    x = torch.from_numpy(np.fromfile(folder + "/x.bin", np.int64 if meta["x"]["type"] == "int64" else np.float32)).reshape(meta["x"]["dims"])
    labels = torch.tensor(meta["labels"])
    parameters = [tensors[name].requires_grad_() for name in meta["trainable"]]
    optimizer = torch.optim.SGD(parameters, lr=meta["lr"], momentum=meta["momentum"])
    with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:
        file.write("5")
    before = memory("VmRSS")
    print('"ready"', flush=True)
    for line in sys.stdin:
        steps = int(line)
        start = time.process_time()
        for _ in range(steps):
            values = {**tensors, "x": x}
            run(nodes, values)
            loss = F.cross_entropy(values[output], labels)
            del values
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            shown = loss.item()
            del loss
        spent = (time.process_time() - start) * 1000 / steps
        print(json.dumps({"ms": spent, "loss": shown, "added": memory("VmHWM") - before}), flush=True)


main(sys.argv[1])
