"""Outputs and gradients of single operators by PyTorch in float64: what test/autodiff/goldens.test.ts holds the gradient rules to.

    python scripts/goldens/gradients.py > test/autodiff/goldens/gradients.json

Needs torch (2.15 made the file) and nothing else. A case is one ONNX node, its operands and the same function in PyTorch. Numbers are drawn
by a fixed seed as multiples of 1/64, which float32 holds exactly, and stored as integers. The loss is sum(output * target); gradients are those
by every operand that has `64ths`. Operands are kept off kinks; what happens on them is stated in the cases named "tie" and in the test.
"""

import json
import math
import sys

import torch
import torch.nn.functional as F

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
random = torch.Generator().manual_seed(14)
cases = []


def drawn(dims, low=-1.5, high=1.5, away=()):
    """Multiples of 1/64 between two bounds, none nearer than 6/64 to a kink."""
    x = torch.randint(int(low * 64), int(high * 64) + 1, dims, generator=random)
    for kink in away:
        near = (x - int(kink * 64)).abs() < 6
        x = torch.where(near, x + 12, x)
    return x.double() / 64


def distinct(dims, spread=1):
    """All different: for maxima."""
    count = math.prod(dims)
    return (torch.randperm(count, generator=random).reshape(dims).double() - count // 2) * spread / 64


def ints(*values, dims=None):
    return {"int64": list(values), "dims": [len(values)] if dims is None else dims}


def number(value):
    return {"float32": [value], "dims": []}


def rounded(tensor):
    return [float(f"{value:.9g}") for value in tensor.detach().reshape(-1).tolist()]


def sixtyfourths(tensor):
    values = (tensor.detach() * 64).reshape(-1)
    assert torch.equal(values, values.round()), "not a multiple of 1/64"
    return [int(value) for value in values.tolist()]


def case(name, op, operands, fn, attributes=None, **more):
    """operands: tensors are differentiated by; dicts are constants (and not given to fn); None is left out."""
    tensors = [x.clone().requires_grad_() for x in operands if isinstance(x, torch.Tensor)]
    outputs = fn(*tensors)
    outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
    targets = [drawn(list(y.shape)) for y in outputs]
    sum((y * t).sum() for y, t in zip(outputs, targets)).backward()
    stored, at = [], iter(tensors)
    for x in operands:
        if isinstance(x, torch.Tensor):
            leaf = next(at)
            stored.append({"dims": list(x.shape), "64ths": sixtyfourths(x), "gradient": rounded(leaf.grad)})
        else:
            stored.append(x)
    results = [{"dims": list(y.shape), "is": rounded(y), "target": sixtyfourths(t)} for y, t in zip(outputs, targets)]
    cases.append({"name": name, "op": op, "attributes": attributes or {}, "operands": stored, "outputs": results, **more})


# Convolutions ---------------------------------------------------------------------------------------------------------------------


def conv(name, x, w, bias=True, pads=None, strides=None, dilations=None, group=1, auto=None):
    spatial = len(x) - 2
    strides, dilations = strides or [1] * spatial, dilations or [1] * spatial
    attributes = {"strides": strides, "dilations": dilations, "group": group, "kernel_shape": w[2:]}
    if auto:
        attributes["auto_pad"] = auto
        pads = [0] * (2 * spatial)
        for i in range(spatial):
            out = -(-x[i + 2] // strides[i])
            total = max(0, (out - 1) * strides[i] + (w[i + 2] - 1) * dilations[i] + 1 - x[i + 2])
            small, large = total // 2, total - total // 2
            pads[i], pads[i + spatial] = (small, large) if auto == "SAME_UPPER" else (large, small)
    else:
        pads = pads or [0] * (2 * spatial)
        attributes["pads"] = pads
    around = [side for i in reversed(range(spatial)) for side in (pads[i], pads[i + spatial])]
    run = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[spatial]

    def fn(x, w, b=None):
        return run(F.pad(x, around), w, b, strides, 0, dilations, group)

    case(f"Conv {name}", "Conv", [drawn(x), drawn(w)] + ([drawn([w[0]])] if bias else []), fn, attributes)


conv("1 x 1", [2, 3, 4, 3], [4, 3, 1, 1], bias=False)
conv("3 x 3", [2, 3, 5, 4], [2, 3, 3, 3], pads=[1, 1, 1, 1])
conv("3 x 3 without padding", [2, 2, 5, 5], [3, 2, 3, 3])
conv("asymmetric padding", [2, 2, 4, 5], [2, 2, 3, 3], pads=[0, 1, 2, 1])
conv("padding wider than the kernel", [1, 2, 3, 3], [2, 2, 2, 2], pads=[3, 0, 1, 2])
conv("stride 2", [2, 2, 6, 6], [3, 2, 3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
conv("strides that leave a rest", [1, 2, 8, 6], [2, 2, 2, 3], strides=[3, 2])
conv("1 x 1 with stride 2", [2, 3, 5, 6], [2, 3, 1, 1], strides=[2, 2], bias=False)
conv("dilation", [1, 2, 7, 6], [2, 2, 3, 2], pads=[2, 1, 2, 1], dilations=[2, 3])
conv("dilation and stride", [1, 2, 9, 8], [2, 2, 3, 2], dilations=[2, 3], strides=[2, 1], pads=[1, 0, 0, 1])
conv("two groups", [2, 4, 4, 4], [4, 2, 3, 3], pads=[1, 1, 1, 1], group=2)
conv("two groups, stride 2", [2, 4, 5, 4], [6, 2, 3, 3], pads=[1, 1, 1, 1], group=2, strides=[2, 2])
conv("depthwise", [2, 3, 5, 5], [3, 1, 3, 3], pads=[1, 1, 1, 1], group=3)
conv("depthwise, stride 2", [2, 3, 6, 5], [3, 1, 3, 3], pads=[1, 1, 1, 1], group=3, strides=[2, 2])
conv("depthwise, dilation", [2, 2, 6, 6], [2, 1, 3, 3], group=2, dilations=[2, 2], pads=[2, 2, 2, 2])
conv("depthwise with two channels each", [2, 2, 4, 4], [4, 1, 3, 3], pads=[1, 1, 1, 1], group=2)
conv("5 x 5", [2, 2, 6, 6], [2, 2, 5, 5], pads=[2, 2, 2, 2])
conv("5 x 5 with stride 2", [2, 2, 8, 7], [2, 2, 5, 5], pads=[2, 2, 2, 2], strides=[2, 2])
conv("7 x 3 with stride 2", [1, 2, 9, 6], [2, 2, 7, 3], pads=[3, 1, 3, 1], strides=[2, 2])
conv("1 x 5 and 5 x 1 are not square", [1, 2, 4, 7], [2, 2, 1, 5], pads=[0, 2, 0, 2])
conv("of signals", [2, 3, 7], [2, 3, 3], pads=[1, 1], strides=[2])
conv("of signals, depthwise", [2, 3, 6], [3, 1, 3], pads=[2, 0], group=3)
conv("of volumes", [1, 2, 4, 3, 4], [2, 2, 2, 2, 2], pads=[0, 1, 0, 1, 0, 0], strides=[1, 1, 2])
conv("SAME_UPPER", [1, 2, 6, 5], [2, 2, 3, 3], strides=[2, 2], auto="SAME_UPPER")
conv("SAME_LOWER", [1, 2, 6, 5], [2, 2, 3, 2], strides=[2, 2], auto="SAME_LOWER")


def conv_transpose(name, x, w, pads=None, strides=None, dilations=None, extra=None, group=1):
    spatial = len(x) - 2
    pads, strides = pads or [0] * (2 * spatial), strides or [1] * spatial
    dilations, extra = dilations or [1] * spatial, extra or [0] * spatial
    attributes = {"strides": strides, "dilations": dilations, "group": group, "pads": pads, "output_padding": extra}
    run = {1: F.conv_transpose1d, 2: F.conv_transpose2d}[spatial]

    def fn(x, w, b):
        whole = run(x, w, b, strides, 0, [0] * spatial, group, dilations)
        # What output_padding adds lies behind; what pads cut off, at both ends.
        sizes = [(x.shape[i + 2] - 1) * strides[i] + (w.shape[i + 2] - 1) * dilations[i] + 1 for i in range(spatial)]
        around = [side for i in reversed(range(spatial)) for side in (-pads[i], extra[i] - pads[i + spatial])]
        bias = b.reshape([1, -1] + [1] * spatial)
        assert list(whole.shape[2:]) == sizes
        return F.pad(whole - bias, around) + bias

    case(f"ConvTranspose {name}", "ConvTranspose", [drawn(x), drawn(w), drawn([w[1] * group])], fn, attributes)


conv_transpose("plain", [2, 3, 3, 4], [3, 2, 3, 3])
conv_transpose("stride 2", [1, 2, 3, 3], [2, 3, 3, 3], strides=[2, 2], pads=[1, 1, 1, 1], extra=[1, 1])
conv_transpose("asymmetric padding", [1, 2, 4, 3], [2, 2, 4, 2], strides=[2, 2], pads=[1, 0, 2, 1])
conv_transpose("groups and dilation", [1, 4, 3, 3], [4, 1, 2, 3], group=2, dilations=[2, 1])
conv_transpose("of signals", [2, 2, 4], [2, 3, 4], strides=[2], pads=[1, 1])

# Products ---------------------------------------------------------------------------------------------------------------------------

for a, b in ([[3, 4], [4, 2]], [[2, 3, 4], [4, 2]], [[3, 4], [2, 4, 2]], [[2, 1, 3, 4], [3, 4, 2]], [[4], [2, 4, 3]], [[2, 3, 4], [4]]):
    case(f"MatMul {a} {b}", "MatMul", [drawn(a), drawn(b)], torch.matmul)
for ta in (0, 1):
    for tb in (0, 1):
        case(
            f"Gemm {ta}{tb}",
            "Gemm",
            [drawn([4, 3] if ta else [3, 4]), drawn([2, 4] if tb else [4, 2]), drawn([[2], [3, 1], [1, 2], [3, 2]][2 * ta + tb])],
            lambda a, b, c, ta=ta, tb=tb: 0.5 * (a.T if ta else a) @ (b.T if tb else b) + 2 * c,
            {"transA": ta, "transB": tb, "alpha": {"float": 0.5}, "beta": {"float": 2}},
        )
for equation, *dims in (
    ("bij,bjk->bik", [2, 3, 4], [2, 4, 2]),
    ("bhid,bhjd->bhij", [1, 2, 3, 4], [1, 2, 2, 4]),
    ("ij,j", [3, 4], [4]),
    ("bijc,ijcd->bd", [2, 2, 3, 2], [2, 3, 2, 4]),
    ("ijk->ki", [2, 3, 4]),
    ("ij,kl->il", [2, 3], [4, 2]),
    ("ia,ja,ka->ijk", [2, 3], [3, 3], [2, 3]),
    ("i,j->ij", [3], [4]),
):
    case(f"Einsum {equation}", "Einsum", [drawn(d) for d in dims], lambda *x, e=equation: torch.einsum(e, *x), {"equation": equation})

# Activations ------------------------------------------------------------------------------------------------------------------------

shape = [2, 3, 4]
smooth = {
    "Sigmoid": torch.sigmoid, "Tanh": torch.tanh, "Softplus": F.softplus, "Softsign": F.softsign, "Mish": F.mish, "Erf": torch.erf,
    "Exp": torch.exp, "Sin": torch.sin, "Cos": torch.cos, "Neg": torch.neg, "Identity": lambda x: x * 1,
}  # fmt: skip
for op, fn in smooth.items():
    case(op, op, [drawn(shape, -3, 3)], fn)
case("Relu", "Relu", [drawn(shape, away=[0])], F.relu)
case("LeakyRelu", "LeakyRelu", [drawn(shape, away=[0])], lambda x: F.leaky_relu(x, 0.25), {"alpha": {"float": 0.25}})
case("ThresholdedRelu", "ThresholdedRelu", [drawn(shape, away=[0.5])], lambda x: F.threshold(x, 0.5, 0), {"alpha": {"float": 0.5}})
case("Elu", "Elu", [drawn(shape, away=[0])], lambda x: F.elu(x, 0.5), {"alpha": {"float": 0.5}})
case("Selu", "Selu", [drawn(shape, away=[0])], F.selu)
case("Celu", "Celu", [drawn(shape, away=[0])], lambda x: F.celu(x, 0.75), {"alpha": {"float": 0.75}})
case("HardSigmoid", "HardSigmoid", [drawn(shape, -4, 4, [-2, 2])], lambda x: torch.clamp(x / 4 + 0.5, 0, 1), {"alpha": {"float": 0.25}, "beta": {"float": 0.5}})  # fmt: skip
case("HardSwish", "HardSwish", [drawn(shape, -5, 5, [-3, 3])], F.hardswish)
case("Gelu", "Gelu", [drawn(shape, -3, 3)], F.gelu, opset=20)
case("Gelu by tanh", "Gelu", [drawn(shape, -3, 3)], lambda x: F.gelu(x, approximate="tanh"), {"approximate": "tanh"}, opset=20)
case("Gelu of com.microsoft", "Gelu", [drawn(shape, -3, 3)], F.gelu, domain="com.microsoft")
case("QuickGelu", "QuickGelu", [drawn(shape, -3, 3)], lambda x: x * torch.sigmoid(1.5 * x), {"alpha": {"float": 1.5}}, domain="com.microsoft")  # fmt: skip
case("PRelu, a slope a channel", "PRelu", [drawn(shape, away=[0]), drawn([3, 1])], lambda x, s: torch.where(x > 0, x, s * x))
case("Clip", "Clip", [drawn(shape, -1.5, 1.5, [-0.5, 0.75]), number(-0.5), number(0.75)], lambda x: x.clamp(-0.5, 0.75))
case("Clip below", "Clip", [drawn(shape, -1.5, 1.5, [0.25]), number(0.25)], lambda x: x.clamp(min=0.25))
case("Clip above", "Clip", [drawn(shape, -1.5, 1.5, [0.25]), None, number(0.25)], lambda x: x.clamp(max=0.25))

# Arithmetic -------------------------------------------------------------------------------------------------------------------------

for op, fn in {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul}.items():
    for a, b in (([2, 3], [2, 3]), ([3, 1], [2, 1, 4]), ([2, 3], [])):
        case(f"{op} {a} {b}", op, [drawn(a), drawn(b)], fn)
case("Div", "Div", [drawn([2, 1, 4]), drawn([3, 1], 0.5, 2)], torch.div)
case("Div, negative", "Div", [drawn([4]), drawn([2, 4], -2, -0.5)], torch.div)
for power in (2, 3, -0.5, 0.5):
    case(f"Pow {power}", "Pow", [drawn(shape, 0.25, 2), number(power)], lambda x, p=power: x**p)
case("Sum of three", "Sum", [drawn(shape), drawn([4]), drawn([3, 1])], lambda a, b, c: a + b + c)
case("Mean of three", "Mean", [drawn(shape), drawn([4]), drawn([3, 1])], lambda a, b, c: (a + b + c) / 3)
case("Max", "Max", [distinct([2, 3, 4], 4), distinct([4], 4) + 1 / 64], torch.maximum)
case("Min of three", "Min", [distinct([3, 4], 6), distinct([4], 6) + 1 / 64, distinct([3, 1], 9) + 2 / 64], lambda a, b, c: torch.minimum(torch.minimum(a, b), c))  # fmt: skip
case("Max, tie", "Max", [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 1.0, 3.0])], torch.maximum)
case("Where", "Where", [{"bool": [1, 0, 0, 1], "dims": [4]}, drawn(shape), drawn([3, 1])], lambda a, b: torch.where(torch.tensor([True, False, False, True]), a, b))  # fmt: skip
case("Abs", "Abs", [drawn(shape, away=[0])], torch.abs)
case("Sqrt", "Sqrt", [drawn(shape, 0.25, 2)], torch.sqrt)
case("Log", "Log", [drawn(shape, 0.25, 2)], torch.log)
case("Reciprocal", "Reciprocal", [drawn(shape, 0.5, 2)], torch.reciprocal)

# Reductions -------------------------------------------------------------------------------------------------------------------------

reductions = {
    "ReduceSum": lambda x, axes, keep: x.sum(axes, keep),
    "ReduceMean": lambda x, axes, keep: x.mean(axes, keep),
    "ReduceL1": lambda x, axes, keep: x.abs().sum(axes, keep),
    "ReduceL2": lambda x, axes, keep: (x * x).sum(axes, keep).sqrt(),
    "ReduceSumSquare": lambda x, axes, keep: (x * x).sum(axes, keep),
    "ReduceLogSum": lambda x, axes, keep: x.sum(axes, keep).log(),
    "ReduceLogSumExp": lambda x, axes, keep: x.logsumexp(axes, keep),
    "ReduceMax": lambda x, axes, keep: x.amax(axes, keep),
    "ReduceMin": lambda x, axes, keep: x.amin(axes, keep),
}  # fmt: skip
for op, fn in reductions.items():
    x = distinct(shape, 3) if op in ("ReduceMax", "ReduceMin") else drawn(shape, *((0.25, 1.5) if op == "ReduceLogSum" else (-1.5, 1.5)), [0])
    case(f"{op}, an axis kept", op, [x, ints(-2)], lambda x, fn=fn: fn(x, [-2], True))
    case(f"{op}, all", op, [x], lambda x, fn=fn: fn(x, [0, 1, 2], True))
    case(f"{op}, two axes dropped", op, [x, ints(0, -1)], lambda x, fn=fn: fn(x, [0, 2], False), {"keepdims": 0})
case("ReduceMax, tie", "ReduceMax", [torch.tensor([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]]), ints(1)], lambda x: x.amax([1], True))

# Softmax and normalizations ---------------------------------------------------------------------------------------------------------

for axis in (0, 1, -1):
    case(f"Softmax, axis {axis}", "Softmax", [drawn(shape, -3, 3)], lambda x, a=axis: x.softmax(a), {"axis": axis})
    case(f"LogSoftmax, axis {axis}", "LogSoftmax", [drawn(shape, -3, 3)], lambda x, a=axis: x.log_softmax(a), {"axis": axis})
case("LayerNormalization", "LayerNormalization", [drawn([2, 3, 6]), drawn([6]), drawn([6])], lambda x, s, b: F.layer_norm(x, [6], s, b), {"epsilon": {"float": 1e-5}})  # fmt: skip
case("LayerNormalization over two axes, without shift", "LayerNormalization", [drawn([2, 3, 4]), drawn([3, 4])], lambda x, s: F.layer_norm(x, [3, 4], s, None, 0.125), {"axis": 1, "epsilon": {"float": 0.125}})  # fmt: skip
case("RMS normalization", "SimplifiedLayerNormalization", [drawn([2, 3, 6]), drawn([6])], lambda x, s: x * (x.square().mean(-1, True) + 1 / 64).rsqrt() * s, {"epsilon": {"float": 1 / 64}})  # fmt: skip
case("InstanceNormalization", "InstanceNormalization", [drawn([2, 3, 3, 4]), drawn([3]), drawn([3])], lambda x, s, b: F.instance_norm(x, weight=s, bias=b, eps=1 / 64), {"epsilon": {"float": 1 / 64}})  # fmt: skip
mean, variance = torch.tensor([0.25, -0.5, 0.125]), torch.tensor([1.0, 0.5, 2.0])
statistics = [{"float32": x.tolist(), "dims": [3]} for x in (mean, variance)]
for dims in ([3, 3], [2, 3, 4], [2, 3, 3, 2]):
    operands = [drawn(dims), drawn([3]), drawn([3]), *statistics]
    case(f"BatchNormalization {dims}", "BatchNormalization", operands, lambda x, s, b: F.batch_norm(x, mean, variance, s, b, False, 0, 1 / 64), {"epsilon": {"float": 1 / 64}})  # fmt: skip
    # The forward values are those of the batch; what is kept of its statistics is compared as `running`.
    kept = [mean.clone(), variance.clone()]
    case(f"BatchNormalization {dims}, training", "BatchNormalization", operands, lambda x, s, b: F.batch_norm(x, kept[0], kept[1], s, b, True, 0.25, 1 / 64), {"epsilon": {"float": 1 / 64}, "momentum": {"float": 0.75}})  # fmt: skip
    cases[-1]["running"] = [rounded(x) for x in kept]

# Pools ------------------------------------------------------------------------------------------------------------------------------


def padded(x, pads, value):
    spatial = len(pads) // 2
    return F.pad(x, [side for i in reversed(range(spatial)) for side in (pads[i], pads[i + spatial])], value=value)


def max_pool(name, dims, kernel, strides, pads=None, dilations=None, ceil=0, x=None):
    pads, dilations = pads or [0] * (2 * len(kernel)), dilations or [1] * len(kernel)
    attributes = {"kernel_shape": kernel, "strides": strides, "pads": pads, "dilations": dilations, "ceil_mode": ceil}
    run = F.max_pool1d if len(kernel) == 1 else F.max_pool2d
    fn = lambda x: run(padded(x, pads, -math.inf), kernel, strides, 0, dilations, bool(ceil))  # noqa: E731
    case(f"MaxPool {name}", "MaxPool", [distinct(dims) if x is None else x], fn, attributes)


max_pool("2 x 2", [2, 2, 4, 4], [2, 2], [2, 2])
max_pool("3 x 3 with stride 2 and padding", [1, 2, 6, 5], [3, 3], [2, 2], [1, 1, 1, 1])
max_pool("overlapping", [1, 2, 5, 5], [3, 2], [1, 1])
max_pool("asymmetric padding", [1, 2, 5, 4], [2, 3], [2, 1], [0, 1, 1, 1])
max_pool("rounded up", [1, 2, 6, 6], [3, 3], [2, 2], ceil=1)
max_pool("dilated", [1, 2, 6, 7], [2, 2], [1, 2], dilations=[2, 3])
max_pool("of signals", [2, 2, 7], [3], [2], [1, 1])
max_pool("tie: the first", [1, 1, 2, 4], [2, 2], [2, 2], x=torch.tensor([[[[1.0, 1.0, 2.0, 0.0], [1.0, 0.0, 2.0, 2.0]]]]))


def average_pool(name, dims, kernel, strides, pads=None, include=0, ceil=0):
    pads = pads or [0] * (2 * len(kernel))
    attributes = {"kernel_shape": kernel, "strides": strides, "pads": pads, "count_include_pad": include, "ceil_mode": ceil}

    def fn(x):
        run = F.avg_pool1d if len(kernel) == 1 else F.avg_pool2d
        if ceil:
            return run(x, kernel, strides, 0, True, bool(include))
        ones = torch.ones_like(x) if not include else None
        sums = run(padded(x, pads, 0), kernel, strides)
        return sums if include else sums / run(padded(ones, pads, 0), kernel, strides)

    case(f"AveragePool {name}", "AveragePool", [drawn(dims)], fn, attributes)


average_pool("2 x 2", [2, 2, 4, 4], [2, 2], [2, 2])
average_pool("3 x 3 with padding", [1, 2, 5, 5], [3, 3], [2, 2], [1, 1, 1, 1])
average_pool("3 x 3 that counts padding", [1, 2, 5, 5], [3, 3], [2, 2], [1, 1, 1, 1], include=1)
average_pool("asymmetric padding", [1, 2, 5, 4], [2, 3], [1, 2], [0, 1, 1, 1])
average_pool("with a rest", [1, 2, 7, 5], [2, 2], [3, 2])
average_pool("rounded up", [1, 2, 6, 5], [3, 2], [2, 2], ceil=1)
average_pool("of signals", [2, 2, 7], [3], [2], [1, 0])
case("GlobalAveragePool", "GlobalAveragePool", [drawn([2, 3, 3, 4])], lambda x: x.mean([2, 3], True))
case("GlobalMaxPool", "GlobalMaxPool", [distinct([2, 3, 3, 4])], lambda x: x.amax([2, 3], True))

# What only moves numbers ------------------------------------------------------------------------------------------------------------

case("Reshape", "Reshape", [drawn(shape), ints(4, -1)], lambda x: x.reshape(4, -1))
case("Flatten", "Flatten", [drawn(shape)], lambda x: x.reshape(6, 4), {"axis": 2})
case("Squeeze", "Squeeze", [drawn([2, 1, 3]), ints(1)], lambda x: x.squeeze(1))
case("Unsqueeze", "Unsqueeze", [drawn([2, 3]), ints(0, -1)], lambda x: x[None, ..., None])
case("Transpose", "Transpose", [drawn(shape)], lambda x: x.permute(2, 0, 1), {"perm": [2, 0, 1]})
case("Expand", "Expand", [drawn([3, 1]), ints(2, 1, 4)], lambda x: x.expand(2, 3, 4))
case("Tile", "Tile", [drawn([2, 3]), ints(3, 2)], lambda x: x.repeat(3, 2))
case("Concat", "Concat", [drawn([2, 3]), drawn([2, 1]), drawn([2, 4])], lambda *x: torch.cat(x, -1), {"axis": -1})
case("Split", "Split", [drawn([2, 6]), ints(1, 3, 2)], lambda x: x.split([1, 3, 2], 1), {"axis": 1})
case("Pad", "Pad", [drawn([2, 3]), ints(1, 0, 0, 2)], lambda x: F.pad(x, [0, 2, 1, 0]))
case("Pad that cuts off", "Pad", [drawn([3, 4]), ints(1, -1, 0, 2)], lambda x: F.pad(x, [-1, 2, 1, 0]))
case("CumSum", "CumSum", [drawn(shape), {"int64": [1], "dims": []}], lambda x: x.cumsum(1))
case("CumSum, exclusive and reverse", "CumSum", [drawn(shape), {"int64": [2], "dims": []}], lambda x: x.flip(2).cumsum(2).flip(2) - x, {"exclusive": 1, "reverse": 1})  # fmt: skip
case("DepthToSpace CRD", "DepthToSpace", [drawn([1, 8, 2, 3])], lambda x: F.pixel_shuffle(x, 2), {"blocksize": 2, "mode": "CRD"})
case("DepthToSpace DCR", "DepthToSpace", [drawn([1, 8, 2, 3])], lambda x: x.reshape(1, 2, 2, 2, 2, 3).permute(0, 3, 4, 1, 5, 2).reshape(1, 2, 4, 6), {"blocksize": 2, "mode": "DCR"})  # fmt: skip
case("SpaceToDepth", "SpaceToDepth", [drawn([1, 2, 4, 6])], lambda x: x.reshape(1, 2, 2, 2, 3, 2).permute(0, 3, 5, 1, 2, 4).reshape(1, 8, 2, 3), {"blocksize": 2})  # fmt: skip
case("Slice", "Slice", [drawn([4, 5]), ints(1, -4), ints(9, -1), ints(0, 1)], lambda x: x[1:9, -4:-1])
case("Slice with steps", "Slice", [drawn([5, 7]), ints(1, 0), ints(5, 7), ints(0, 1), ints(2, 3)], lambda x: x[1:5:2, 0:7:3])
case("Slice of images with steps", "Slice", [drawn([2, 2, 5, 6]), ints(1, 0), ints(5, 6), ints(2, 3), ints(2, 2)], lambda x: x[:, :, 1:5:2, 0:6:2])  # fmt: skip
case("Slice backwards", "Slice", [drawn([2, 6]), ints(-1), ints(-100), ints(1), ints(-2)], lambda x: x[:, [5, 3, 1]])
case("Gather", "Gather", [drawn([5, 3]), ints(4, 0, 4, -1)], lambda x: x[[4, 0, 4, 4]])
case("Gather along axis 1", "Gather", [drawn([2, 4, 3]), ints(3, 0, 0, 1, dims=[2, 2])], lambda x: x[:, [[3, 0], [0, 1]]], {"axis": 1})
case("Gather of one", "Gather", [drawn([2, 4]), ints(2, dims=[])], lambda x: x[:, 2], {"axis": -1})
case("GatherElements", "GatherElements", [drawn([2, 3]), ints(0, 0, 2, 1, dims=[2, 2])], lambda x: x.gather(1, torch.tensor([[0, 0], [2, 1]])), {"axis": 1})  # fmt: skip
case("GatherND", "GatherND", [drawn([3, 2, 2]), ints(0, 1, 2, 0, 0, 1, dims=[3, 2])], lambda x: x[[0, 2, 0], [1, 0, 1]])

# Recurrence -------------------------------------------------------------------------------------------------------------------------


def gru(x, w, r, b, h=None, lengths=None):
    """[T, B, I] to Y and Y_h, gates z, r, n, as ONNX with linear_before_reset = 1."""
    size = r.shape[2]
    state = torch.zeros(x.shape[1], size) if h is None else h[0]
    results = []
    for t in range(x.shape[0]):
        fed = (x[t] @ w[0].T + b[0, : 3 * size]).split(size, 1)
        kept = (state @ r[0].T + b[0, 3 * size :]).split(size, 1)
        z, reset = torch.sigmoid(fed[0] + kept[0]), torch.sigmoid(fed[1] + kept[1])
        new = (1 - z) * torch.tanh(fed[2] + reset * kept[2]) + z * state
        live = torch.tensor([[t < n] for n in lengths]) if lengths else torch.ones(x.shape[1], 1, dtype=torch.bool)
        state = torch.where(live, new, state)
        results.append(torch.where(live, new, torch.zeros_like(new)))
    return torch.stack(results)[:, None], state[None]


def gru_operands(steps, batch, width, size):
    return [drawn([steps, batch, width]), drawn([1, 3 * size, width], -1, 1), drawn([1, 3 * size, size], -1, 1), drawn([1, 6 * size], -1, 1)]


case("GRU", "GRU", gru_operands(4, 2, 3, 2), gru, {"hidden_size": 2, "linear_before_reset": 1})
case("GRU from a state", "GRU", [*gru_operands(3, 2, 2, 3), None, drawn([1, 2, 3])], gru, {"hidden_size": 3, "linear_before_reset": 1})
case("GRU of one step", "GRU", gru_operands(1, 2, 3, 2), gru, {"hidden_size": 2, "linear_before_reset": 1})
case("GRU of samples of different lengths", "GRU", [*gru_operands(5, 3, 2, 2), {"int32": [5, 2, 3], "dims": [3]}], lambda *x: gru(*x, lengths=[5, 2, 3]), {"hidden_size": 2, "linear_before_reset": 1})  # fmt: skip

# Resize -----------------------------------------------------------------------------------------------------------------------------


def resize(name, dims, to, fn, **attributes):
    case(f"Resize {name}", "Resize", [drawn(dims), None, None, ints(*dims[:2], *to)], fn, attributes)


for to in ([6, 8], [5, 7], [2, 3]):
    dims = [1, 2, 3, 4]
    resize(f"nearest to {to}", dims, to, lambda x, to=to: F.interpolate(x, to, mode="nearest"), mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
    resize(f"nearest, half pixels, to {to}", dims, to, lambda x, to=to: F.interpolate(x, to, mode="nearest-exact"), mode="nearest", coordinate_transformation_mode="half_pixel", nearest_mode="round_prefer_ceil")  # fmt: skip
    resize(f"linear to {to}", dims, to, lambda x, to=to: F.interpolate(x, to, mode="bilinear"), mode="linear", coordinate_transformation_mode="half_pixel")
    resize(f"linear, corners aligned, to {to}", dims, to, lambda x, to=to: F.interpolate(x, to, mode="bilinear", align_corners=True), mode="linear", coordinate_transformation_mode="align_corners")  # fmt: skip

sys.stdout.write('{"made by": "scripts/goldens/gradients.py, torch ' + torch.__version__.split("+")[0] + '",\n"cases": [\n')
sys.stdout.write(",\n".join(json.dumps(one, separators=(",", ":")) for one in cases) + "\n]}\n")
