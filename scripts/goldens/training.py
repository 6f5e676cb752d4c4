"""Three training steps of two small networks by PyTorch in float64: what test/autodiff/training_goldens.test.ts holds whole graphs to.

    python scripts/goldens/training.py > test/autodiff/goldens/training.json

SGD with momentum and weight decay (on tensors of two and more dimensions), cross-entropy, another batch each step. Networks are smooth
(Tanh, Gelu): at kinks float32 and float64 part ways. Numbers that go in are multiples of 1/64, stored as integers.
"""

import json
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
random = torch.Generator().manual_seed(41)
steps, classes = 3, 3
lr, momentum, decay = 0.125, 0.875, 0.0625


def drawn(dims, bound):
    return torch.randint(-int(bound * 64), int(bound * 64) + 1, dims, generator=random).double() / 64


def sixtyfourths(tensor):
    return {"dims": list(tensor.shape), "64ths": [int(v) for v in (tensor.detach() * 64).reshape(-1).tolist()]}


def rounded(tensor):
    return [float(f"{v:.9g}") for v in tensor.detach().reshape(-1).tolist()]


def convolutional(p, x, kept):
    h = F.conv2d(x, p["w1"], None, padding=1)
    h = torch.tanh(F.batch_norm(h, kept["mean"], kept["variance"], p["scale"], p["shift"], True, 0.25, 1 / 64))
    h = torch.tanh(F.conv2d(h, p["w2"], p["b2"], stride=2, padding=1, groups=4)) + h[:, :, ::2, ::2]
    h = F.avg_pool2d(h, 2)
    return F.linear(h.flatten(1), p["w3"], p["b3"])


def attention(p, ids, kept):
    x = p["table"][ids]
    n, length, width = x.shape
    heads = lambda z: z.reshape(n, length, 2, width // 2).transpose(1, 2)  # noqa: E731
    h = F.layer_norm(x, [width], p["s1"], p["c1"], 1 / 64)
    q, k, v = (heads(h @ p["w" + one] + p["b" + one]) for one in "qkv")
    weights = (q @ k.transpose(2, 3) / 2).softmax(-1)
    x = x + (weights @ v).transpose(1, 2).reshape(n, length, width) @ p["wo"]
    h = F.layer_norm(x, [width], p["s2"], p["c2"], 1 / 64)
    x = x + F.gelu(h @ p["wf"] + p["bf"]) @ p["wg"]
    return F.linear(x.mean(1), p["wh"], p["bh"])


def golden(name, shapes, fn, batches, statistics=()):
    first = {key: drawn(dims, 0.75) for key, dims in shapes.items()}
    p = {key: value.clone().requires_grad_() for key, value in first.items()}
    kept = {key: torch.full([4], float(value)) for key, value in statistics}
    optimizer = torch.optim.SGD(
        [{"params": [v for v in p.values() if v.dim() > 1], "weight_decay": decay}, {"params": [v for v in p.values() if v.dim() == 1]}],
        lr=lr, momentum=momentum,
    )  # fmt: skip
    losses, fed = [], []
    for x in batches:
        labels = torch.randint(0, classes, [x.shape[0]], generator=random)
        loss = F.cross_entropy(fn(p, x, kept), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss)
        held = {"dims": list(x.shape), "int64": x.reshape(-1).tolist()} if x.dtype == torch.int64 else sixtyfourths(x)
        fed.append({"x": held, "labels": labels.tolist()})
    return {
        "name": name,
        "parameters": {key: {**sixtyfourths(first[key]), "last": rounded(p[key])} for key in first},
        "running": {key: rounded(value) for key, value in kept.items()},
        "batches": fed,
        "losses": rounded(torch.stack(losses)),
    }


nets = [
    golden(
        "convolutions and BatchNormalization",
        {"w1": [4, 2, 3, 3], "scale": [4], "shift": [4], "w2": [4, 1, 3, 3], "b2": [4], "w3": [classes, 16], "b3": [classes]},
        convolutional,
        [drawn([4, 2, 8, 8], 1.5) for _ in range(steps)],
        [("mean", 0), ("variance", 1)],
    ),
    golden(
        "attention",
        {"table": [7, 8], "s1": [8], "c1": [8], **{"w" + k: [8, 8] for k in "qkvo"}, **{"b" + k: [8] for k in "qkv"}, "s2": [8], "c2": [8],
         "wf": [8, 12], "bf": [12], "wg": [12, 8], "wh": [classes, 8], "bh": [classes]},
        attention,
        [torch.randint(0, 7, [3, 5], generator=random) for _ in range(steps)],
    ),
]  # fmt: skip
json.dump({"made by": f"scripts/goldens/training.py, torch {torch.__version__.split('+')[0]}", "lr": lr, "momentum": momentum, "weight_decay": decay, "nets": nets}, sys.stdout, separators=(",", ":"))  # fmt: skip
print()
