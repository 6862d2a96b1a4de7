"""An ensemble gives the mean of its members' outputs, whatever the head, and is a network like any other."""

from __future__ import annotations

import pytest
import torch
from tests.synthetic import small_plan

from isocenter.errors import ConfigError
from isocenter.networks import Ensemble, HeadSpec, build_network

PLAN = small_plan(
    {"structures": [{"name": "liver", "values": [1]}]},
    {"dimensions": 2, "options": {"strides": [[1, 1, 1], [1, 2, 2]], "channels": [3, 4], "norm": "batch"}},
    {"patch": [1, 8, 8]},
)
HEADS = {"dense": HeadSpec("dense", 2), "cells": HeadSpec("strided", 3, stride=2), "answer": HeadSpec("global", 4)}


def networks(count: int, heads=HEADS) -> list[torch.nn.Module]:
    torch.manual_seed(0)
    return [build_network(PLAN.network, PLAN.inputs, heads) for _ in range(count)]


def image() -> dict[str, torch.Tensor]:
    return {"ct": torch.randn(2, 1, 3, 9, 8, generator=torch.Generator().manual_seed(1))}


@pytest.mark.parametrize("count", [1, 2, 5])
def test_every_output_is_the_mean_of_the_members(count: int) -> None:
    members = networks(count)
    ensemble = Ensemble(members).eval()
    with torch.inference_mode():
        found = ensemble(image(), {})
        each = [member.eval()(image(), {}) for member in members]
    assert found.keys() == HEADS.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, torch.stack([e[name] for e in each]).mean(0), rtol=1e-5, atol=1e-6)
    assert len({float(e["dense"].sum()) for e in each}) == count
    assert (len(ensemble), list(ensemble)) == (count, members)


def test_the_mean_is_the_normalised_geometric_mean_of_probabilities_at_any_temperature() -> None:
    members = networks(3)
    with torch.inference_mode():
        logits = Ensemble(members).eval()(image(), {})["dense"].double()
        each = torch.stack([member(image(), {})["dense"].double() for member in members])
    for temperature in (1.0, 2.5):
        pool = (each / temperature).softmax(2).log().mean(0).exp()
        torch.testing.assert_close(
            (logits / temperature).softmax(1), pool / pool.sum(1, keepdim=True), rtol=1e-5, atol=0
        )


def test_members_that_compute_in_fewer_bits_are_averaged_in_32() -> None:
    ensemble = Ensemble(networks(2)).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = ensemble(image(), {})
    with torch.inference_mode():
        exact = ensemble(image(), {})
    assert {value.dtype for value in found.values()} == {torch.float32}
    torch.testing.assert_close(found["dense"], exact["dense"], atol=0.1, rtol=0.1)


def test_evaluation_reaches_every_member() -> None:
    ensemble = Ensemble(networks(2)).eval()
    assert not any(module.training for module in ensemble.modules())
    assert len(ensemble.state_dict()) == 2 * len(networks(1)[0].state_dict())


def test_an_ensemble_of_none_or_of_strangers_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one network"):
        Ensemble([])
    (one,), (other,) = networks(1), networks(1, {"dense": HEADS["dense"]})
    with pytest.raises(ConfigError, match=r"member 1 of the ensemble gives \['dense'\].*take networks of one plan"):
        Ensemble([one, other]).eval()(image(), {})
