"""Searches with real fits: plans by the rules of other networks, rungs that are one fit, limits, kills and costs."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import isocenter as iso
from isocenter.data import Splits
from isocenter.errors import ConfigError, MissingExtraError, PlanError, SplitError, StoppedError
from isocenter.networks import build_network
from isocenter.pipeline import Pipeline
from isocenter.plan import read_plan, set_values
from isocenter.regimes import SearchSpace
from isocenter.workflow.planning import open_dataset, split_dataset, study
from isocenter.workflow.variants import Variants

SMALL = {"width": [0.5, 1.0, 2.0], "depth": [0], "network.name": ["unet"], "training.learning_rate": [2e-3, 4e-3]}


@pytest.fixture
def bare(tiny: Sequence[str]) -> list[str]:
    return [text for text in tiny if not text.startswith("training.validations")]


def rows_of(plan: Path) -> Any:
    """Without the clock, which differs from run to run."""
    rows = json.loads(plan.with_name(f"{plan.stem}.search.json").read_text())["trials"]
    for row in rows:
        del row["seconds"], row["footing"]
        row["rungs"] = [[rung["steps"], rung["scores"]] for rung in row["rungs"]]
    return rows


def test_a_search_writes_a_plan_a_table_and_what_it_cost(studies: Path, bare: Sequence[str], tmp_path: Path) -> None:
    out, told = tmp_path / "plan.yaml", list[tuple[Any, ...]]()
    found = iso.search(
        studies, out=out, trials=2, settings=bare, space=SMALL, device="cpu", progress=lambda *a: told.append(a)
    )
    plan, rules = read_plan(out), iso.plan(studies, settings=bare)
    assert plan == found.plan
    assert plan.network == rules.network, "one validation patient shows nothing, so the rules stay"
    assert (plan.training, plan.preprocess) == (rules.training, rules.preprocess)
    assert "with one validation patient none can be" in plan.reasons["network"]
    assert f"{found.cost.steps} steps of training" in plan.reasons["network"]
    table = json.loads((tmp_path / "plan.search.json").read_text())
    assert table["cost"]["seconds"] == found.cost.seconds > 0
    assert [row["number"] for row in table["trials"]] == [0, 1]
    assert all(row["footing"][k] > 0 for row in table["trials"] for k in ("latency_s", "memory_gb", "seconds_per_step"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["plan.search.json", "plan.yaml"], "nothing else is left"
    assert {what[0] for what in told} >= {"looking at cases", "preparing cases", "training a trial", "searching"}
    # a fit in rungs, gone on with twice, scores as one that was never interrupted
    assert [rung["steps"] for rung in table["trials"][0]["rungs"]] == [1, 3]
    model = iso.fit(studies, out=tmp_path / "m", plan=set_values(rules, {"training.validations": 1}), device="cpu")
    history = json.loads((tmp_path / "m/training.json").read_text())["history"]
    assert table["trials"][0]["score"] == pytest.approx(history[-1]["validation"], abs=1e-12)
    assert model.plan.network == plan.network


@pytest.mark.parametrize("step", [2, 4], ids=["in the first trial", "in the second"])
def test_a_killed_search_goes_on_to_the_same_table(
    studies: Path, bare: Sequence[str], tmp_path: Path, step: int
) -> None:
    said: dict[str, Any] = {"trials": 3, "settings": bare, "space": SMALL, "device": "cpu"}
    iso.search(studies, out=tmp_path / "whole.yaml", **said)
    calls = 0

    def stop(what: str, done: int, total: int, figures: object = None) -> None:
        nonlocal calls
        calls += what == "training a trial"
        if calls == step and what == "training a trial":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(StoppedError, match="go on from it with --resume"):
        iso.search(studies, out=tmp_path / "part.yaml", progress=stop, **said)
    assert not (tmp_path / "part.yaml").exists()
    with pytest.raises(ConfigError, match="was begun with another asked"):
        iso.search(studies, out=tmp_path / "part.yaml", resume=True, **said | {"seed": 3})
    with pytest.raises(ConfigError, match="was begun with another space"):
        iso.search(studies, out=tmp_path / "part.yaml", resume=True, **said | {"space": {"width": [1.0]}})
    found = iso.search(studies, out=tmp_path / "part.yaml", resume=True, **said)
    assert rows_of(tmp_path / "part.yaml") == rows_of(tmp_path / "whole.yaml")
    assert found.plan.network == read_plan(tmp_path / "whole.yaml").network
    assert not (tmp_path / "part.yaml.search").exists()


def test_what_fails_between_two_trials_keeps_the_first(studies: Path, bare: Sequence[str], tmp_path: Path) -> None:
    said: dict[str, Any] = {"trials": 2, "settings": bare, "space": SMALL, "device": "cpu"}

    def fail(what: str, done: int, total: int, figures: object = None) -> None:
        if what == "searching" and done == 3:  # steps: those of the first trial
            raise RuntimeError("somebody else's fault")

    with pytest.raises(RuntimeError):
        iso.search(studies, out=tmp_path / "p.yaml", progress=fail, **said)
    kept = json.loads((tmp_path / "p.yaml.search" / "search.json").read_text())
    assert [len(trial["rungs"]) for trial in kept["trials"]] == [2]
    iso.search(studies, out=tmp_path / "p.yaml", resume=True, **said)
    assert [row["number"] for row in rows_of(tmp_path / "p.yaml")] == [0, 1]


def test_limits_that_nothing_keeps_to_are_refused_with_the_nearest(
    studies: Path, bare: Sequence[str], tmp_path: Path
) -> None:
    space = {**SMALL, "width": [1.0], "training.learning_rate": [2e-3]}
    with pytest.raises(PlanError, match=r"none of 1 plans keeps to them.*s a case, more than 0\.0001 s"):
        iso.search(studies, out=tmp_path / "p.yaml", trials=2, latency="0.1ms", settings=bare, space=space)
    with pytest.raises(PlanError, match=r"none of 1 plans keeps to them.*GB, more than 0\.01 GB"):
        iso.search(studies, out=tmp_path / "p.yaml", trials=2, memory="10MB", settings=bare, space=space)
    assert not list(tmp_path.iterdir()), "nothing is left behind"


@pytest.mark.slow
def test_a_budget_becomes_trials_and_steps_and_is_kept_to(studies: Path, bare: Sequence[str], tmp_path: Path) -> None:
    loose = [text for text in bare if not text.startswith("training.steps")]
    began = time.perf_counter()
    found = iso.search(studies, out=tmp_path / "p.yaml", budget="90s", settings=loose, device="cpu")
    taken = time.perf_counter() - began
    assert 30 < taken < 115, "a busy machine may be slower than it was when timed, but not without end"
    assert found.cost.seconds == pytest.approx(taken, abs=5)
    assert len(found.trials) >= 2
    assert found.trials[0].steps >= 50


def test_what_no_search_can_be_made_of_is_refused_at_once(studies: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.yaml"
    with pytest.raises(ConfigError, match="a search needs an end"):
        iso.search(studies, out=out)
    with pytest.raises(ConfigError, match="trials 1: at least 2"):
        iso.search(studies, out=out, trials=1)
    with pytest.raises(ConfigError, match="latency 'soon'"):
        iso.search(studies, out=out, trials=2, latency="soon")
    with pytest.raises(ConfigError, match="sampler 'grid': there are tpe, random"):
        iso.search(studies, out=out, trials=2, sampler="grid")  # type: ignore[arg-type]
    with pytest.raises(PlanError, match=r"did you mean 'training.learning_rate'"):
        iso.search(studies, out=out, trials=2, space=["training.learning_rat=1e-3"])
    with pytest.raises(PlanError, match="no network 'unett'"):
        iso.search(studies, out=out, trials=2, space=["network.name=unett"])
    with pytest.raises(ConfigError, match=r"training.learning_rate: is both fixed and searched over"):
        iso.search(studies, out=out, trials=2, space=["training.learning_rate=1e-3"],
                   settings=["training.learning_rate=0.01"])  # fmt: skip
    with pytest.raises(ConfigError, match=r"network.name: is both fixed"):
        iso.search(studies, out=out, trials=2, space=["network.name=unet"], network="light")
    only = Splits({"train": [f"thorax_000{k}" for k in range(1, 5)]})
    with pytest.raises(SplitError, match="has no part 'val'"):
        iso.search(studies, out=out, trials=2, splits=only)
    assert not list(tmp_path.iterdir())


def test_without_optuna_the_extra_is_named(studies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'isocenter\[tune\]'"):
        iso.search(studies, out=tmp_path / "p.yaml", trials=2)


@pytest.fixture(scope="module")
def variants(studies: Path) -> Variants:
    return Variants(study(split_dataset(open_dataset(studies))))


def test_the_space_follows_from_the_plan_by_rules(variants: Variants) -> None:
    space = variants.space(SearchSpace())
    assert set(space.choices) == {"network.name", "network.dimensions", "width", "depth", "training.learning_rate"}
    assert space.choices["network.name"][0] == variants.plan.network.name
    assert {2, 3} == set(space.choices["network.dimensions"])
    first = variants.first(space)
    assert variants.derive(first) == variants.plan
    wider = variants.space(SearchSpace.of_words(["training.learning_rate=1e-3,2e-3", "training.batch=1,2"]))
    assert wider.choices["training.learning_rate"] == (1e-3, 2e-3), "numbers, though YAML takes 1e-3 for a word"
    assert variants.first(wider)["training.batch"] == variants.plan.training.batch
    fixed = variants.space(SearchSpace(), fixed=["network.name"])
    assert "network.name" not in fixed.choices


def test_every_choice_of_the_space_is_a_network_or_says_why_not(variants: Variants) -> None:
    space = variants.space(SearchSpace())
    rate = {"training.learning_rate": variants.plan.training.learning_rate}
    parameters = {}
    for name in space.choices["network.name"]:
        for dimensions in space.choices["network.dimensions"]:
            for width, depth in ((1.0, 0), (0.5, -1), (1.5, 0)):
                choice = {
                    "network.name": name,
                    "network.dimensions": dimensions,
                    "width": width,
                    "depth": depth,
                    **rate,
                }
                try:
                    plan = variants.derive(choice)
                except PlanError as error:
                    assert depth, choice
                    assert "stages, 2 are the least" in str(error)  # noqa: PT017 most choices are plans
                    continue
                assert (plan.network.name, plan.network.dimensions) == (name, dimensions)
                assert (plan.training.patch[0] == 1) == (plan.inference.window[0] == 1)
                assert dimensions == 3 or plan.training.patch[0] == 1
                net = build_network(plan.network, plan.inputs, Pipeline(plan).task.heads())
                parameters[name, dimensions, width, depth] = sum(p.numel() for p in net.parameters())
    for (name, dimensions, width, _), count in parameters.items():
        by_rules = parameters[name, dimensions, 1.0, 0]
        assert count == by_rules or (count < by_rules) == (width < 1), (name, dimensions, width)


def test_stages_are_added_while_the_patch_is_large_enough(variants: Variants) -> None:
    options = variants.plan.network.options
    more = variants.derive({"depth": 1}).network.options
    assert more["channels"][:-1] == options["channels"]
    assert more["strides"][:-1] == options["strides"]
    assert len(more.get("kernels", more["strides"])) == len(more["strides"])
    assert max(more["strides"][-1]) == 2
    with pytest.raises(PlanError, match="is too small for a stage more"):
        variants.derive({"depth": 6})
    with pytest.raises(PlanError, match=f"{len(options['channels'])} stages, 2 are the least"):
        variants.derive({"depth": -9})
