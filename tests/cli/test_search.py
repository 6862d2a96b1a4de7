"""The verb `search` as a person meets it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Run = Callable[..., Any]


def test_the_line(ok: Run, nnunet: Run, sets: Sequence[str], tmp_path: Path) -> None:
    data = nnunet(6)
    (tmp_path / "space.yaml").write_text("width: [0.5, 1.0]\ndepth: [0]\nnetwork.name: [unet, light]\n")
    words = ["search", data, *sets, "--trials", 2, "--latency", "1min", "--memory", "50GB", "--device", "cpu"]
    done = ok(*words, "--space", "space.yaml", "--over", "network.name=unet", "--over", "training.learning_rate=2e-3")
    lines = done.out.splitlines()
    assert lines[0].startswith("trial 0 (by rules), ")
    assert "s a case" in lines[0]
    assert "GB, " in lines[0]
    assert lines[1].startswith("trial 1 (width=0.5), ")
    assert lines[2].startswith("searched: ")
    assert "the search took" in lines[2]
    assert "2 plans measured, 2 trained" in lines[2]
    assert lines[-1].startswith("written to plan.yaml; next: isocenter fit")
    ok("fit", data, "-q", "--plan", "plan.yaml")


def test_what_is_wrong_is_one_line(refused: Run, nnunet: Run, tmp_path: Path) -> None:
    search = ["search", nnunet(4), "-q", "--trials", 2]
    refused(["search", "data", "-q"], "a search needs an end", "60min")
    refused([*search, "--over", "width"], "--over width: expected KEY=VALUE,VALUE")
    refused([*search, "--over", "width=-1"], "--over: width: a factor above 0", "-1")
    refused([*search, "--over", "training.stepz=1,2"], "'training.stepz'", "did you mean 'training.steps'?")
    refused([*search, "--over", "training.steps=1,2"], "training.steps: is the same in every trial")
    refused([*search, "--over", "network.dimensions=4"], "network.dimensions: is 2 or 3, found 4")
    refused([*search, "--space", "nowhere.yaml"], "space nowhere.yaml: cannot be read")
    refused([*search, "--latency", "soon"], "latency 'soon'")
    refused([*search, "--memory", "much"], "memory 'much'")
    refused([*search, "--sampler", "grid"], "sampler 'grid'")
    refused([*search, "--steps", 0], "steps 0")
    refused([*search, "--budget", "1s"], "budget: ", "s are left for trials")
    (tmp_path / "plan.yaml").write_text("mine")
    refused(search, "plan.yaml: is there already")
