"""Learning rates by PyTorch's own schedulers, for test/passes/train/lr.

python scripts/goldens/learning_rates.py > test/passes/train/goldens/learning_rates.json
"""

import json
import torch
from torch.optim import lr_scheduler as lr

CASES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}, 12),
    ("StepLR", {"step_size": 4}, 12),
    ("MultiStepLR", {"milestones": [2, 5, 5, 9], "gamma": 0.3}, 12),
    ("ExponentialLR", {"gamma": 0.9}, 12),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}, 18),
    ("CosineAnnealingWarmRestarts", {"T_0": 3, "T_mult": 2, "eta_min": 0.02}, 22),
    ("CosineAnnealingWarmRestarts", {"T_0": 4}, 12),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 3, "step_size_down": 5}, 20),
    ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.2, "step_size_up": 4, "mode": "triangular2"}, 30),
    ("CyclicLR", {"base_lr": [0.05], "max_lr": [0.2], "step_size_up": 2, "mode": "exp_range", "gamma": 0.95}, 14),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 20}, 20),
    ("OneCycleLR", {"max_lr": 0.3, "total_steps": 17, "pct_start": 0.4, "anneal_strategy": "linear",
                    "div_factor": 10, "final_div_factor": 100}, 17),
    ("OneCycleLR", {"max_lr": 0.3, "epochs": 3, "steps_per_epoch": 5}, 15),
]

LOSSES = [3, 2, 1.5, 1.6, 1.55, 1.4999, 1.5, 1.2, 1.3, 1.3, 1.3, 1.3, 1.19, 1.5, 1.5, 1.5, 1.5, 1.5, 1.5, 1.0, 1.1, 1.2, 1.3, 1.4]
PLATEAUS = [
    {"patience": 1, "factor": 0.5},
    {"patience": 0, "factor": 0.1, "cooldown": 2, "min_lr": 0.002},
    {"patience": 2, "threshold": 0.25, "threshold_mode": "abs"},
    {"patience": 1, "mode": "max", "factor": 0.3, "threshold": 0.1},
    {"patience": 0, "factor": 0.2, "eps": 0.005},
]


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.9)


found = []
for name, options, count in CASES:
    opt = optimizer()
    schedule = getattr(lr, name)(opt, **options)
    rates = []
    for i in range(count):
        rates.append(opt.param_groups[0]["lr"])
        opt.step()
        if i + 1 < count:
            schedule.step()
    found.append({"class": name, "options": options, "rates": rates})
for options in PLATEAUS:
    opt = optimizer()
    schedule = lr.ReduceLROnPlateau(opt, **options)
    rates = [opt.param_groups[0]["lr"]]
    for loss in LOSSES:
        schedule.step(loss)
        rates.append(opt.param_groups[0]["lr"])
    found.append({"class": "ReduceLROnPlateau", "options": options, "rates": rates})
print(json.dumps({"base": 0.1, "losses": LOSSES, "cases": found}))
