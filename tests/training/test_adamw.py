"""AdamW: step by step against torch's class, and what it spares."""

from __future__ import annotations

import subprocess
import sys

import torch
from torch import nn

from pdpipe.training.adamw import AdamW


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 1), nn.Linear(1, 1))


def backward(net: nn.Sequential, step: int) -> None:
    """Gradients of random images; the last layer gets none in the first steps."""
    x = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(step))
    net[: 3 if step < 2 else 4](x).square().mean().backward()


def test_its_steps_are_those_of_torchs_class_bit_by_bit() -> None:
    ours, theirs = network(), network()
    betas, weight_decay = (0.9, 0.99), 0.1
    mine = AdamW(ours.parameters(), betas=betas, weight_decay=weight_decay)
    other = torch.optim.AdamW(
        theirs.parameters(), betas=betas, weight_decay=weight_decay, fused=True
    )
    for step in range(6):
        rate = 1e-2 / (step + 1)
        mine.zero_grad()
        backward(ours, step)
        mine.step(rate)
        other.zero_grad()
        backward(theirs, step)
        other.param_groups[0]["lr"] = rate
        other.step()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)
        if step == 3:  # go on in another
            saved = mine.state_dict()
            mine = AdamW(ours.parameters(), betas=betas, weight_decay=weight_decay)
            mine.load_state_dict(saved)


def test_torchs_compiler_is_not_imported() -> None:
    code = (
        "import sys, torch\n"
        "from pdpipe.training.adamw import AdamW\n"
        "net = torch.nn.Linear(2, 1)\n"
        "net(torch.ones(1, 2)).sum().backward()\n"
        "AdamW(net.parameters(), betas=(0.9, 0.99), weight_decay=0.0).step(1.0)\n"
        "print('torch._dynamo' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
