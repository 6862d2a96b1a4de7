"""Losses by name, and from outside."""

from __future__ import annotations

import pytest
import torch
from tests.tasks.losses.loss_cases import NAMES, PAIR, draw, task_of, value

from isocenter.errors import PlanError
from isocenter.tasks.losses import Loss, Seen, build_losses, loss, losses


def test_these_losses_are_there() -> None:
    assert set(NAMES) <= set(losses.names())
    assert [losses[name].kind for name in NAMES] == list(NAMES)


def test_a_loss_from_outside() -> None:
    @loss("halves")
    class Halves(Loss):
        offset: float = 0.0

        def __call__(self, seen: Seen) -> torch.Tensor:
            return seen.probabilities[:, seen.first :].mean() + self.offset

    try:
        logits, labels = draw(PAIR)
        found = value(task_of(loss={"halves": {"offset": 3}}), logits, labels, "halves")
        assert float(found) == pytest.approx(3 + float(logits.softmax(1)[:, 1:].mean()), rel=1e-5)
    finally:
        losses._items.pop("halves")


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        ({}, "nothing would be learned"),
        ({"dise": 1}, r"no loss 'dise' \(did you mean 'dice'\?\)"),
        ({"dice": float("inf")}, r"task\.options\.loss\.dice\.weight: .*finite"),
        ({"dice": "much"}, r"task\.options\.loss\.dice\.weight: .*number"),
        ({"dice": 0}, r"task\.options\.loss\.dice\.weight: .*greater than 0"),
        ({"tversky": {"bata": 1}}, r"task\.options\.loss\.tversky\.bata: no such option \(did you mean 'beta'\?\)"),
    ],
)
def test_losses_that_are_not_there_are_refused(given_, said: str) -> None:
    with pytest.raises(PlanError, match=said):
        build_losses(given_)
