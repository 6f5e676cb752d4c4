"""Losses and their gradients by PyTorch in float64, for test/passes/train/loss.

python scripts/goldens/losses.py > test/passes/train/goldens/losses.json
"""

import json
import torch
import torch.nn.functional as F

torch.manual_seed(3)
torch.set_default_dtype(torch.float64)


def drawn(*shape):
    return torch.randn(*shape).mul(2).float().double()


def case(name, output, loss, **more):
    x = output.clone().requires_grad_(True)
    value = loss(x)
    value.backward()
    listed = {key: one.tolist() if isinstance(one, torch.Tensor) else one for key, one in more.items()}
    return {"case": name, "dims": list(x.shape), "output": x.detach().flatten().tolist(), "loss": value.item(),
            "gradient": [float(f"{v:.9g}") for v in x.grad.flatten().tolist()], **listed}


def kd(teacher, labels, t, dw, sw):
    return lambda x: sw * F.cross_entropy(x, labels) + dw * t * t * F.kl_div(
        F.log_softmax(x / t, 1), F.softmax(teacher / t, 1), reduction="batchmean")


flat = torch.tensor([2, 0, 3])
sequence = torch.tensor([[1, -1, 0, 2], [-1, -1, 3, 1]])
image = torch.tensor([[[0, 2], [-1, 1]], [[2, 2], [0, -1]]])
first, second = torch.tensor([0, 1, 2]), torch.tensor([2, 1, 0])
teacher = drawn(3, 4)
bits = torch.tensor([[1.0, 0, 1], [0, 0, 1]])
x34 = drawn(3, 4)
print(json.dumps([
    case("plain", x34, lambda x: F.cross_entropy(x, flat), labels=flat.flatten()),
    case("smooth", x34, lambda x: F.cross_entropy(x, flat, label_smoothing=0.2), labels=flat.flatten()),
    case("sequence", drawn(2, 4, 5), lambda x: F.cross_entropy(x.transpose(1, 2), sequence, ignore_index=-1, label_smoothing=0.1),
         labels=sequence.flatten()),
    case("image", drawn(2, 3, 2, 2), lambda x: F.cross_entropy(x, image, ignore_index=-1), labels=image.flatten()),
    case("shares", torch.softmax(drawn(3, 4), 1).float().double(), lambda x: F.nll_loss(x.log(), flat), labels=flat.flatten()),
    case("mixed", drawn(3, 4), lambda x: 0.7 * F.cross_entropy(x, first) + 0.3 * F.cross_entropy(x, second),
         labels=first.flatten(), mixed=second.flatten()),
    case("bce", drawn(2, 3) * 5, lambda x: F.binary_cross_entropy_with_logits(x, bits), expected=bits.flatten()),
    case("bce shares", torch.sigmoid(drawn(2, 3)).float().double(), lambda x: F.binary_cross_entropy(x, bits), expected=bits.flatten()),
    case("mse", drawn(2, 3), lambda x: F.mse_loss(x, bits), expected=bits.flatten()),
    case("distill", drawn(3, 4), kd(teacher, flat, 3.0, 0.7, 0.4), labels=flat.flatten(), teacher=teacher.flatten()),
]))
