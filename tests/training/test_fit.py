"""A fit gives the same weights however its batches are prepared and wherever it was interrupted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import ndimage
from tests.synthetic import label_map, make_case, small_plan
from torch import nn

from isocenter.errors import ModelIntegrityError, PlanError, ValueRangeError
from isocenter.pipeline import Pipeline, Sample
from isocenter.plan import Plan, set_values
from isocenter.records import Case, LabelSchema
from isocenter.strategies import Supervised
from isocenter.training import CHECKPOINT, Progress, TrainingRun, strategy, train
from isocenter.volume import Grid, Volume

STEPS = 8
SCHEMA = LabelSchema.of({"lung_left": 1, "lung_right": 2, "heart": 3})
AUGMENTATION = {
    "rotation_deg": [30, 15, 15], "scale": 0.2, "mirror": [0, 2], "brightness": 0.3, "contrast": 0.3, "gamma": 0.3,
    "noise": 0.3, "blur": 1.0, "low_resolution": 2.0, "intensity_probability": 0.6,
}  # fmt: skip
TWO_THREADS = {"threads": 2, "patch": [8, 64, 72], "batch": 1, "steps": 2}  # large enough for sums to be shared


def plan_of(dimensions: int = 3, norm: str = "batch", **training) -> Plan:
    patch = [8, 16, 16] if dimensions == 3 else [1, 24, 24]
    structures = [{"name": s.name, "values": list(s.values), "mirror": s.mirror} for s in SCHEMA.structures]
    return small_plan(
        {"structures": structures},
        {"dimensions": dimensions, "options": {
            "stem": [1, 2, 2], "strides": [[1, 1, 1], [1, 2, 2]], "channels": [6, 8], "norm": norm, "dropout": 0.2,
        }},
        {"patch": patch, "batch": 3, "steps": STEPS, "augmentation": AUGMENTATION, "learning_rate": 0.01, **training},
    )  # fmt: skip


def case_of(seed: int) -> Case:
    rng = np.random.default_rng(seed)
    grid = Grid.regular((9, 28, 26), spacing_mm=(3, 1, 1))
    labels = np.zeros(grid.shape, np.uint8)
    labels[:, 5:20, 2:10], labels[:, 5:20, 16:24], labels[2:7, 8:14, 11:15] = 1, 2, 3
    image = labels + ndimage.gaussian_filter(rng.normal(size=grid.shape), 1) * 2
    return make_case(f"c{seed}", Volume(image.astype(np.float32), grid), label_map(labels, grid, SCHEMA))


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    pipeline = Pipeline(plan_of())
    return [pipeline.prepare(case_of(seed), targets=True) for seed in range(3)]


def fit(plan: Plan, samples: list[Sample], folder: Path, **settings) -> TrainingRun:
    return train(plan, Pipeline(plan).task, {"train": samples}, folder=folder, device="cpu", **settings)


def assert_same_weights(a: nn.Module, b: nn.Module) -> None:
    for (name, one), (_, two) in zip(a.state_dict().items(), b.state_dict().items(), strict=True):
        assert torch.equal(one, two), name


@pytest.mark.parametrize(
    "settings",
    [{}, {"norm": "instance", "ema": 0.0}, {"dimensions": 2}, {"precision": "bf16"}, TWO_THREADS],
)
def test_any_number_of_workers_gives_the_same_weights(samples, tmp_path: Path, settings) -> None:
    runs = [fit(plan_of(workers=n, **settings), samples, tmp_path / str(n)).network for n in (0, 1, 2)]
    for other in runs[1:]:
        assert_same_weights(runs[0], other)
    again = fit(plan_of(workers=2, seed=1, **settings), samples, tmp_path / "seed").network
    assert any(not torch.equal(a, b) for a, b in zip(runs[0].parameters(), again.parameters(), strict=True))


class SwitchedOffError(Exception):
    """Stands for a machine that is switched off."""


@pytest.mark.parametrize("settings", [{}, {"norm": "instance", "ema": 0.0}, {"dimensions": 2, "precision": "bf16"}])
@pytest.mark.parametrize("workers", [0, 2])
def test_an_interrupted_fit_gives_the_weights_of_a_whole_one(
    samples, tmp_path: Path, monkeypatch, settings, workers
) -> None:
    plan = plan_of(workers=workers, **settings)
    whole = fit(plan, samples, tmp_path / "whole").network

    monkeypatch.setattr("isocenter.training.loop.CHECKPOINT_SECONDS", -1.0)

    def stop_after_4(state: Progress) -> None:
        if state.step == 4:
            raise SwitchedOffError

    with pytest.raises(SwitchedOffError):
        fit(plan, samples, tmp_path / "part", progress=stop_after_4)
    assert (tmp_path / "part" / CHECKPOINT).exists()
    steps: list[int] = []
    resumed = fit(
        plan, samples, tmp_path / "part", resume=True, progress=lambda state: steps.append(state.step)
    ).network
    assert steps == [5, 6, 7, 8]
    assert_same_weights(whole, resumed)


def test_a_checkpoint_of_another_plan_or_other_cases_is_refused_and_without_resume_not_looked_at(
    samples, tmp_path, monkeypatch
) -> None:
    monkeypatch.setattr("isocenter.training.loop.CHECKPOINT_SECONDS", -1.0)
    plan = plan_of(steps=3)
    first = fit(plan, samples, tmp_path).network
    with pytest.raises(ModelIntegrityError, match="another plan"):
        fit(set_values(plan, ["training.seed=9"]), samples, tmp_path, resume=True)
    with pytest.raises(ModelIntegrityError, match="other cases"):
        fit(plan, samples[:2], tmp_path, resume=True)
    anew = fit(plan, samples, tmp_path)
    assert_same_weights(first, anew.network)


def test_a_new_fit_takes_away_the_checkpoint_of_an_old_one(samples, tmp_path: Path) -> None:
    plan = plan_of(steps=3)
    fit(plan, samples, tmp_path)
    assert (tmp_path / CHECKPOINT).exists()

    def stop(state: Progress) -> None:
        raise SwitchedOffError

    with pytest.raises(SwitchedOffError):
        fit(plan, samples, tmp_path, progress=stop)
    assert not (tmp_path / CHECKPOINT).exists()


def test_what_a_fit_leaves_and_tells(samples, tmp_path: Path) -> None:
    plan = plan_of(validations=2)
    told: list[Progress] = []
    scores = iter([0.25, 0.5])
    networks: list[nn.Module] = []

    def validate(network: nn.Module) -> float:
        networks.append(network)
        network.eval()
        return next(scores)

    run = fit(plan, samples, tmp_path, progress=told.append, validate=validate)
    assert [state.step for state in told] == list(range(1, STEPS + 1))
    assert {state.steps for state in told} == {STEPS}
    assert all(0 <= state.figures["score"] <= 1 for state in told)
    assert told[-1].figures["validation"] == 0.5
    assert [(row["step"], row["validation"]) for row in run.history] == [(4, 0.25), (8, 0.5)]
    assert not run.network.training
    assert run.seconds > 0
    assert list((tmp_path / "tensorboard").glob("events*"))
    assert all(isinstance(network, type(run.network)) for network in networks)


def test_tensorboard_holds_the_figures(samples, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(plan_of(validations=1, steps=2), samples, tmp_path, validate=lambda network: 0.75)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    (point,) = events.Scalars("validation")
    assert (point.step, point.value) == (2, 0.75)
    assert {"loss", "score"} <= set(events.Tags()["scalars"])


def test_validating_does_not_change_the_weights(samples, tmp_path: Path) -> None:
    def validate(network: nn.Module) -> float:
        network.eval()
        torch.manual_seed(3)
        torch.rand(5)
        return 0.5

    quiet = fit(plan_of(), samples, tmp_path / "a").network
    watched = fit(plan_of(validations=8).model_copy(), samples, tmp_path / "b", validate=validate).network
    assert_same_weights(quiet, watched)


def test_a_loss_that_is_no_number_stops_the_fit(samples, tmp_path: Path) -> None:
    broken = [replace(sample, inputs={"ct": sample.inputs["ct"] * float("nan")}) for sample in samples]
    with pytest.raises(ValueRangeError, match="step 1: the loss is not finite"):
        fit(plan_of(workers=2), broken, tmp_path)


def test_a_batch_that_fails_is_raised_by_the_fit(samples, tmp_path: Path) -> None:
    class Failing(list):
        def __getitem__(self, index):
            self.reads = getattr(self, "reads", 0) + 1
            if self.reads > 6:
                raise ValueRangeError("case c1: file vanished")
            return super().__getitem__(index)

    with pytest.raises(ValueRangeError, match="vanished"):
        fit(plan_of(workers=2), Failing(samples), tmp_path)


def test_the_fit_learns(samples, tmp_path: Path) -> None:
    told: list[float] = []
    plan = plan_of(steps=60, augmentation={})
    fit(plan, samples, tmp_path, progress=lambda state: told.append(state.figures["loss"]))
    assert told[-1] < 0.7 * told[0]


def test_threads_are_those_of_the_plan_and_given_back(samples, tmp_path: Path) -> None:
    before = torch.get_num_threads()
    wanted = 2 if before == 1 else 1
    seen: list[int] = []
    plan = plan_of(steps=1, threads=wanted)
    fit(plan, samples, tmp_path, progress=lambda state: seen.append(torch.get_num_threads()))
    assert seen == [wanted]
    assert torch.get_num_threads() == before


def test_averaged_weights_are_deployed_where_the_plan_averages(samples, tmp_path: Path) -> None:
    plain, averaged = (
        fit(plan_of(ema=ema, norm="instance"), samples, tmp_path / str(ema)).network for ema in (0.0, 0.9)
    )
    assert any(not torch.equal(a, b) for a, b in zip(plain.parameters(), averaged.parameters(), strict=True))


@strategy("test-frozen-but-bias")
class BiasOnly(Supervised):
    """A strategy of a plug-in: only biases learn."""

    def optimizers(self, modules):
        biases = [p for name, p in modules["network"].named_parameters() if name.endswith("bias")]
        return {"network": torch.optim.SGD([{"params": biases, "initial_lr": 0.1}], lr=0.1)}


def test_a_strategy_from_outside_is_run_by_its_name(samples, tmp_path: Path) -> None:
    plan = plan_of(strategy="test-frozen-but-bias", ema=0.0, norm="instance")
    found = dict(fit(plan, samples, tmp_path / "a").network.named_parameters())
    start = dict(
        fit(
            set_values(plan, ["training.steps=1", "training.learning_rate=1e-9"]), samples, tmp_path / "b"
        ).network.named_parameters()
    )
    changed = {name for name in found if not torch.equal(found[name], start[name])}
    assert changed
    assert all(name.endswith("bias") for name in changed)
    with pytest.raises(PlanError, match=r"no strategy 'supervisd'.*'supervised'"):
        fit(plan_of(strategy="supervisd"), samples, tmp_path / "c")
