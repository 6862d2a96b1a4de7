"""What every loss of segmentation must do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.losses.loss_cases import NAMES, PAIR, SCHEMAS, draw, right, task_of, value

from isocenter.records import IGNORE, LabelSchema


@SCHEMAS
@pytest.mark.parametrize("name", NAMES)
def test_the_truth_is_better_than_chance_and_than_what_is_shifted(name: str, schema: LabelSchema) -> None:
    logits, labels = draw(schema)
    task = task_of(schema, loss={name: 1})
    best = float(value(task, right(labels, schema), labels, name))
    shifted = float(value(task, right(labels.roll(3, -1), schema), labels, name))
    assert best < float(value(task, logits, labels, name))
    assert best < shifted
    if name != "boundary":
        assert best == pytest.approx(0, abs=2e-3 if name == "cldice" else 1e-3)


@SCHEMAS
@pytest.mark.parametrize("name", NAMES)
def test_unannotated_voxels_take_no_part(name: str, schema: LabelSchema) -> None:
    logits, labels = draw(schema)
    hidden = torch.rand(labels.shape[0], 1, *labels.shape[2:], generator=torch.Generator().manual_seed(0)) < 0.3
    labels = torch.where(hidden, torch.tensor(IGNORE, dtype=torch.uint8), labels)
    task = task_of(schema, loss={name: 1})
    logits.requires_grad_()
    value(task, logits, labels, name).backward()
    reached = logits.grad.abs().amax(1, keepdim=True) > 0
    assert not (reached & hidden).any()
    assert reached.any()
    with torch.no_grad():
        loud = torch.where(hidden, 30 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)), logits)
        assert float(value(task, loud, labels, name)) == pytest.approx(
            float(value(task, logits, labels, name)), rel=1e-5
        )
    nothing = value(task, logits, torch.full_like(labels, IGNORE), name)
    nothing.backward()
    assert float(nothing.detach()) == 0
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", NAMES)
def test_half_precision_is_computed_in_32_bit(name: str) -> None:
    logits, labels = draw(PAIR)
    task = task_of(loss={name: 1})
    half = value(task, logits.bfloat16(), labels, name)
    assert half.dtype == torch.float32
    assert float(half) == pytest.approx(float(value(task, logits.bfloat16().float(), labels, name)))


@pytest.mark.parametrize("name", NAMES)
def test_each_loss_alone_teaches_a_toy(name: str) -> None:
    torch.manual_seed(0)
    _, labels = draw(PAIR, (1, 16, 16), batch=4)
    image = right(labels, PAIR, 1.0)[:, 1:] + 0.3 * torch.randn(4, 2, 1, 16, 16)
    network = torch.nn.Conv3d(2, 3, 1)
    task = task_of(loss={name: 1})
    optimizer = torch.optim.Adam(network.parameters(), 0.05)
    first = None
    for _ in range(60):
        now = value(task, network(image), labels, name)
        first = first if first is not None else float(now.detach())
        optimizer.zero_grad()
        now.backward()
        optimizer.step()
    assert float(now.detach()) < first
    if name != "boundary":  # it says nothing of background, and stands beside an overlap loss
        found = network(image).argmax(1)
        assert float((found == labels[:, 0]).float().mean()) > 0.8


@SCHEMAS
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_those_of_finite_differences(name: str, schema: LabelSchema) -> None:
    logits, labels = draw(schema, (2, 3, 4), batch=2)
    labels[0, :, 0, 0] = IGNORE
    options = {"tversky": {"exponent": 0.75}, "top-k": {"share": 0.5}}.get(name, 1.0)
    task = task_of(schema, loss={name: options}, class_weights={"b": 3})
    assert torch.autograd.gradcheck(lambda x: value(task, x, labels, name), logits.double().requires_grad_())


@SCHEMAS
@settings(max_examples=15)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 9), st.integers(1, 9)),
    batch=st.integers(1, 3),
    scale=st.sampled_from([1.0, 100.0]),
    seed=st.integers(0, 100),
)
def test_any_shape_gives_finite_values_and_gradients(
    schema: LabelSchema, shape, batch: int, scale: float, seed: int
) -> None:
    logits, labels = draw(schema, shape, batch, seed)
    logits = (scale * logits).requires_grad_()
    task = task_of(schema, loss=dict.fromkeys(NAMES, 1))
    terms = task.loss({"segmentation": logits}, task.collate([{"labels": each} for each in labels]))
    assert set(terms) == {*NAMES, "score"}
    for name in NAMES:
        assert torch.isfinite(terms[name]), name
        (slope,) = torch.autograd.grad(terms[name], logits, retain_graph=True)
        assert torch.isfinite(slope).all(), name
