"""Parameters after each step of PyTorch's optimizers in float64, for test/passes/train/optimizer.

python scripts/goldens/optimizers.py > test/passes/train/goldens/optimizers.json
"""

import json
import torch

torch.manual_seed(2)
torch.set_default_dtype(torch.float64)
STEPS = 7
start = torch.randn(3, 4).float().double()
gradients = [torch.randn(3, 4).float().double() for _ in range(STEPS)]
rates = [0.1, 0.1, 0.05, 0.2, 0.02, 0.1, 0.1]

CASES = [
    ("sgd", torch.optim.SGD, {}),
    ("sgd", torch.optim.SGD, {"momentum": 0.9}),
    ("sgd", torch.optim.SGD, {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05}),
    ("adam", torch.optim.Adam, {}),
    ("adam", torch.optim.Adam, {"betas": [0.8, 0.95], "eps": 1e-3, "weight_decay": 0.1}),
    ("adamw", torch.optim.AdamW, {}),
    ("adamw", torch.optim.AdamW, {"betas": [0.5, 0.9], "weight_decay": 0.2}),
]

found = []
for name, kind, options in CASES:
    p = torch.nn.Parameter(start.clone())
    optimizer = kind([p], **options)
    steps = []
    for rate, gradient in zip(rates, gradients):
        optimizer.param_groups[0]["lr"] = rate
        p.grad = gradient.clone()
        optimizer.step()
        steps.append([float(f"{v:.9g}") for v in p.detach().flatten().tolist()])
    found.append({"name": name, "options": options, "steps": steps})
print(json.dumps({"dims": [3, 4], "start": start.flatten().tolist(), "rates": rates,
                  "gradients": [g.flatten().tolist() for g in gradients], "cases": found}))
