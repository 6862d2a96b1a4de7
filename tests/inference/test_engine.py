"""A case through windows, network and reducer is what the network says of the whole case."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tests.synthetic import image_ref, small_plan
from torch import nn

from isocenter.errors import ValueRangeError
from isocenter.inference import Engine, plan_windows, predict_case, resolve_precision
from isocenter.networks import build_network
from isocenter.pipeline import Model, Pipeline
from isocenter.plan import Plan
from isocenter.records import Case, LabelMap
from isocenter.tasks import Calibration, Decoded, Placement, Segmentation, Slab, task
from isocenter.volume import Grid, Volume

SHAPE = (7, 18, 15)


@task("test-logits")
class Logits(Segmentation):
    """Segmentation that gives its logits as a map instead of labels."""

    def decode(self, slabs: Iterator[Slab], placement: Placement, calibration: Calibration | None = None) -> Decoded:
        parts = list(slabs)
        assert [p.start for p in parts] == list(
            np.cumsum([0, *[p.outputs["segmentation"].shape[1] for p in parts]])[:-1]
        )
        logits = torch.cat([p.outputs["segmentation"] for p in parts], dim=1)
        return Decoded((), maps={"logits": Volume(logits.numpy(), placement.target)})


class Plain(nn.Module):
    """A convolution under the contract of networks; notes what it was given."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv3d(1, 2, kernel, padding=kernel // 2)
        self.seen: list[tuple[torch.Size, dict, bool, bool]] = []

    def forward(self, inputs, present):
        self.seen.append((inputs["ct"].shape, dict(present), torch.is_autocast_enabled("cpu"), self.training))
        return {"segmentation": self.conv(inputs["ct"])}


def plan_of(window, overlap: float = 0.5, task: str = "test-logits", **inference) -> Plan:
    made = small_plan(
        {"name": task, "structures": [{"name": "blob", "values": [1]}]},
        {"dimensions": 3, "options": {"strides": [[1, 1, 1], [2, 2, 2]], "channels": [4, 8], "norm": "batch"}},
        {"patch": [8, 8, 8]},
    )
    settings = {"window": window, "overlap": overlap, "precision": "fp32", **inference}
    return Plan.model_validate(made.model_dump() | {"inference": settings})


def case_of(shape=SHAPE, seed: int = 0) -> Case:
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    volume = Volume(values, Grid.regular(shape, spacing_mm=(2, 1, 1)))
    return Case("case-7", "p", {"ct": image_ref(volume)})


def logits_of(network: nn.Module, plan: Plan, case: Case, **settings) -> np.ndarray:
    pipeline = Pipeline(plan)
    return Engine(pipeline, network, **settings).predict(pipeline.prepare(case)).maps["logits"].array


def direct(network: nn.Module, case: Case) -> np.ndarray:
    with torch.inference_mode():
        return network.eval()({"ct": torch.from_numpy(case.image("ct").read().array)[None]}, {})["segmentation"][
            0
        ].numpy()


@pytest.mark.parametrize("window", [SHAPE, (64, 64, 64)])
def test_one_window_over_all_is_a_plain_forward(window) -> None:
    plan, case = plan_of(window), case_of()
    torch.manual_seed(3)
    network = build_network(plan.network, plan.inputs, Pipeline(plan).task.heads())
    np.testing.assert_allclose(logits_of(network, plan, case), direct(network, case), atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(
    ("window", "overlap"), [((4, 8, 7), 0.5), ((3, 5, 15), 0.25), ((1, 6, 6), 0.0), ((7, 7, 7), 0.8)]
)
def test_blended_windows_of_a_pointwise_network_are_its_direct_result(window, overlap: float, batch: int) -> None:
    network, case = Plain(1), case_of()
    plan = plan_of(window, overlap, batch=batch)
    np.testing.assert_allclose(logits_of(network, plan, case), direct(network, case), atol=1e-5)
    assert max(seen[0][0] for seen in network.seen[:-1]) == min(batch, len(plan_windows(SHAPE, window, overlap)))


def test_where_every_window_sees_the_whole_context_windows_do_not_show() -> None:
    network, case = Plain(3), case_of((12, 20, 20))
    windows = plan_windows((12, 20, 20), (6, 9, 8), 0.5)
    seen_whole = np.ones((12, 20, 20), bool)
    for window in windows:
        part = np.zeros((12, 20, 20), bool)
        here = [slice(s, s + n) for s, n in zip(window.start, window.shape, strict=True)]
        part[tuple(here)] = True
        inner = [
            slice(h.start + (h.start > 0), h.stop - (h.stop < n)) for h, n in zip(here, (12, 20, 20), strict=True)
        ]  # at the border of the image both see the same padding
        part[tuple(inner)] = False
        seen_whole &= ~part
    assert 0.1 < seen_whole.mean() < 1
    blended, whole = logits_of(network, plan_of((6, 9, 8)), case), direct(network, case)
    np.testing.assert_allclose(blended[:, seen_whole], whole[:, seen_whole], atol=1e-5)
    assert np.abs(blended - whole)[:, ~seen_whole].max() > 1e-3


def test_labels_of_the_largest_logit_come_back_on_the_case() -> None:
    network, case = Plain(1), case_of()
    pipeline = Pipeline(plan_of((4, 8, 8), task="segmentation"))
    prediction = Engine(pipeline, network).predict(pipeline.prepare(case))
    (labels,) = prediction.annotations
    assert isinstance(labels, LabelMap)
    assert labels.read().grid == case.image("ct").grid()
    np.testing.assert_array_equal(labels.read().array[0], direct(network, case).argmax(0))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_an_output_that_is_no_number_is_named_with_case_and_window(value: float) -> None:
    class Breaking(Plain):
        def forward(self, inputs, present):
            out = super().forward(inputs, present)["segmentation"]
            return {"segmentation": torch.where(inputs["ct"] > 50, value, out)}

    case = case_of()
    image = case.image("ct").read()
    image.array[0, 5, 16, 2] = 99
    with pytest.raises(
        ValueRangeError, match=r"case case-7: output 'segmentation'.*window at \(2, 10, 0\) of size \(4, 8, 8\)"
    ):
        logits_of(Breaking(1), plan_of((4, 8, 8)), case)


def test_the_network_runs_in_the_precision_of_the_plan() -> None:
    case, results = case_of(), {}
    for precision in ("fp32", "bf16"):
        network = Plain(3)
        results[precision] = logits_of(network, plan_of((4, 8, 8), precision=precision), case)
        assert {seen[2] for seen in network.seen} == {precision == "bf16"}
        assert results[precision].dtype == np.float32
    assert not np.array_equal(results["fp32"], results["bf16"])
    np.testing.assert_allclose(results["bf16"], results["fp32"], atol=0.05)


def test_precision_is_what_is_asked_for_and_auto_is_one_of_them() -> None:
    assert resolve_precision("fp32") == "fp32"
    assert resolve_precision("bf16") == "bf16"
    assert resolve_precision("auto") == resolve_precision("auto", torch.device("cpu"))
    assert resolve_precision("auto") in ("fp32", "bf16")


def test_the_network_is_evaluated_without_gradients_and_progress_is_told() -> None:
    network, told = Plain(1).train(), []
    pipeline = Pipeline(plan_of((4, 8, 8), batch=4))
    prediction = Engine(pipeline, network).predict(
        pipeline.prepare(case_of()), lambda done, total: told.append((done, total))
    )
    assert {seen[3] for seen in network.seen} == {False}
    assert all(p.grad is None for p in network.parameters())
    total = len(plan_windows(SHAPE, (4, 8, 8), 0.5))
    assert told == [(min(k, total), total) for k in range(4, total + 4, 4)]
    assert prediction.case.id == "case-7"


def test_an_image_that_the_case_lacks_is_told_to_the_network() -> None:
    plan = plan_of((64, 64, 64))
    inputs = [{"name": "ct"}, {"name": "pet", "required": False}]
    plan = Plan.model_validate(plan.model_dump() | {"inputs": inputs})
    case = case_of()
    network = Plain(1)
    logits_of(network, plan, case)
    (seen,) = network.seen
    assert {name: there.tolist() for name, there in seen[1].items()} == {"ct": [True], "pet": [False]}
    both = Case(case.id, case.patient, {**case.images, "pet": case.image("ct")})
    logits_of(network, plan, both)
    assert network.seen[-1][1] == {}


def test_a_loaded_model_predicts_a_case_and_signs_it() -> None:
    plan = plan_of((4, 8, 8), task="segmentation")
    torch.manual_seed(1)
    network = build_network(plan.network, plan.inputs, Pipeline(plan).task.heads())
    model = Model(plan, network, manifest={"trained_on": {"train": 3}})
    prediction = predict_case(model, case_of())
    assert prediction.provenance == model.provenance
    assert prediction.provenance.settings == {"overlap": "0.5", "precision": "fp32"}
    again = predict_case(model, case_of())
    np.testing.assert_array_equal(*(p.annotations[0].read().array for p in (prediction, again)))
