"""Checkpoints: everything comes back bit for bit, or the file is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from isocenter.errors import ModelIntegrityError
from isocenter.training import read_checkpoint, write_checkpoint


def parts(seed: int, steps: int = 0):
    torch.manual_seed(seed)
    modules = nn.ModuleDict(
        {"network": nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)), "average": nn.Linear(2, 2)}
    )
    modules["average"].requires_grad_(False)
    network = modules["network"]
    optimizers = {
        "network": torch.optim.AdamW(
            [
                {"params": [network[0].weight], "weight_decay": 0.1},
                {"params": [network[0].bias, *network[1].parameters()]},
            ],
            lr=0.05,
        ),
        "other": torch.optim.SGD([modules["network"][0].weight], lr=0.01, momentum=0.9),
    }
    for step in range(steps):
        learn(modules, optimizers, step)
    return modules, optimizers


def learn(modules, optimizers, step: int) -> None:
    generator = torch.Generator().manual_seed(step)
    (modules["network"](torch.randn(2, 1, 6, 6, generator=generator)) ** 3).sum().backward()
    for optimizer in optimizers.values():
        optimizer.step()
    for optimizer in optimizers.values():
        optimizer.zero_grad()


def assert_same(a, b) -> None:
    for (name, one), (_, two) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        assert torch.equal(one, two), name


def test_a_fit_goes_on_from_a_checkpoint_as_if_never_stopped(tmp_path: Path) -> None:
    file = tmp_path / "new" / "c.safetensors"
    modules, optimizers = parts(0, steps=3)
    facts = {"history": [{"step": 2, "loss": 0.1}]}
    write_checkpoint(file, modules, optimizers, step=3, plan="plan: ü", facts=facts)
    others, their_optimizers = parts(1)
    assert read_checkpoint(file, others, their_optimizers, plan="plan: ü") == (3, facts)
    assert_same(modules, others)
    for name, optimizer in optimizers.items():
        assert their_optimizers[name].state_dict()["param_groups"] == optimizer.state_dict()["param_groups"]
    for step in range(3, 6):
        learn(modules, optimizers, step)
        learn(others, their_optimizers, step)
    assert_same(modules, others)
    assert [p.name for p in file.parent.iterdir()] == [file.name]


def test_a_checkpoint_before_the_first_step(tmp_path: Path) -> None:
    file = tmp_path / "c.safetensors"
    write_checkpoint(file, *parts(0), step=0, plan="")
    others, optimizers = parts(1)
    assert read_checkpoint(file, others, optimizers, plan="") == (0, {})
    assert_same(parts(0)[0], others)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    file = tmp_path / "c.safetensors"
    write_checkpoint(file, *parts(0, steps=2), step=2, plan="a")
    return file


def assert_refused(file: Path, says: str, *, plan: str = "a") -> None:
    modules, optimizers = parts(1)
    before = {k: v.clone() for k, v in modules.state_dict().items()}
    with pytest.raises(ModelIntegrityError, match=says) as caught:
        read_checkpoint(file, modules, optimizers, plan=plan)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in modules.state_dict().items()), "nothing was loaded"


def test_another_plan_is_refused(saved: Path) -> None:
    assert_refused(saved, "another plan", plan="b")


def test_any_flipped_bit_is_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    rng = np.random.default_rng(0)
    for place in {0, 3, 8, 40, len(whole) - 1, *rng.integers(8, len(whole), 60).tolist()}:
        broken = bytearray(whole)
        broken[place] ^= 1 << int(rng.integers(8))
        saved.write_bytes(broken)
        assert_refused(saved, "cannot be read|damaged|not an isocenter checkpoint|another plan")


def test_what_is_cut_off_empty_foreign_or_missing_is_refused(saved: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    whole = saved.read_bytes()
    for size in (0, 4, 100, len(whole) // 2, len(whole) - 1):
        saved.write_bytes(whole[:size])
        assert_refused(saved, "cannot be read")
    save_file({"weight": torch.ones(2)}, saved)
    assert_refused(saved, "not an isocenter checkpoint")
    assert_refused(tmp_path / "none", "cannot be read")


def test_a_strategy_with_other_modules_is_refused(saved: Path) -> None:
    modules, optimizers = parts(1)
    del modules["average"]
    with pytest.raises(ModelIntegrityError, match=r"does not fit the strategy's modules.*average") as caught:
        read_checkpoint(saved, modules, optimizers, plan="a")
    assert "\n" not in str(caught.value)
