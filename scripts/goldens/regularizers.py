"""Penalties and their gradients by PyTorch in float64, for test/passes/train/regularize.

python scripts/goldens/regularizers.py > test/passes/train/goldens/regularizers.json
"""

import json
import torch

torch.manual_seed(1)
torch.set_default_dtype(torch.float64)

AXES = {"2D": (2, 3), "3D": (1, 2, 3), "Filters": (1, 2, 3), "Channels": (0, 2, 3), "4D": (0, 1, 2, 3), "Rows": (1,), "Cols": (0,)}


def norms(x, group):
    return torch.linalg.vector_norm(x, dim=AXES[group]).flatten()


PENALTIES = {
    "L1Regularizer": lambda x, _: x.abs().sum(),
    "L2Regularizer": lambda x, _: (x * x).sum(),
    "GroupLassoRegularizer": lambda x, group: sum(norms(x, one).sum() for one in group.split("+")),
    "GroupVarianceRegularizer": lambda x, group: 1 / norms(x, group).var(),
}
SHAPES = {4: (4, 3, 2, 2), 2: (4, 5)}
CASES = [
    ("L1Regularizer", None, 4), ("L2Regularizer", None, 2),
    *(("GroupLassoRegularizer", group, 4) for group in ["2D", "3D", "Filters", "Channels", "4D", "Channels+4D", "4D+Channels"]),
    *(("GroupLassoRegularizer", group, 2) for group in ["Rows", "Cols", "Rows+Cols", "Cols+Rows"]),
    ("GroupVarianceRegularizer", "Channels", 4), ("GroupVarianceRegularizer", "Filters", 4), ("GroupVarianceRegularizer", "Rows", 2),
]

weights = {}
for rank, shape in SHAPES.items():
    # Of float32, so that both sides begin with the same numbers; one group of zeros.
    x = torch.randn(shape).float().double()
    x[1] = 0
    weights[rank] = x
found = []
for name, group, rank in CASES:
    x = weights[rank].clone().requires_grad_(True)
    penalty = PENALTIES[name](x, group)
    penalty.backward()
    found.append({"class": name, "group": group, "rank": rank, "penalty": penalty.item(),
                  "gradient": [float(f"{v:.9g}") for v in x.grad.flatten().tolist()]})
print(json.dumps({"weights": {rank: {"dims": list(x.shape), "data": x.flatten().tolist()} for rank, x in weights.items()}, "cases": found}))
