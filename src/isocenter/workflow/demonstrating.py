"""The verb `demo`: the whole line once, on simulated studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isocenter.data import Dataset, make_splits
from isocenter.io.files import atomic_folder
from isocenter.workflow.evaluating import evaluate
from isocenter.workflow.fitting import fit
from isocenter.workflow.planning import plan
from isocenter.workflow.predicting import predict
from isocenter.workflow.progress import Progress
from isocenter.workflow.simulating import simulate

__all__ = ["demo"]

ORGANS = ("lung_left", "lung_right", "heart", "liver", "spine")


def demo(
    out: str | Path,
    *,
    cases: int = 12,
    steps: int = 300,
    seed: int = 7,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Simulate, plan, fit, evaluate on unseen studies, predict one of them.

    Args:
        out: Folder that appears whole or not at all: ``studies/``, ``plan.yaml``, ``model/``, ``metrics.json``,
            ``result/``.
        cases: Simulated studies; a quarter is never trained on.
        steps: Training steps.
        seed: Of patients and fit.
        overwrite: Replace a folder that is not empty.
        progress: Told how far it is.

    Returns:
        The figures of ``metrics.json``.
    """
    from isocenter.plan import write_plan

    with atomic_folder(out, overwrite=overwrite) as folder:
        studies = simulate(
            "thorax", out=folder / "studies", cases=cases, seed=seed, structures=ORGANS, matrix=128, slice_mm=5.0,
            progress=progress,
        )  # fmt: skip
        dataset = Dataset.read(studies)
        splits = make_splits(dataset, val=0.1, test=0.25, seed=seed)
        splits.write(studies / "splits.json")
        # smaller patches than the planner's, since a demo is judged by its minutes
        patch = (48, 80, 80)
        settings = {
            "training.steps": steps,
            "training.seed": seed,
            "training.validations": 2,
            "training.patch": patch,
            "inference.window": patch,
        }
        made = plan(studies, name="demo-thorax", settings=settings, progress=progress)
        write_plan(made, folder / "plan.yaml")
        model = fit(studies, out=folder / "model", plan=made, progress=progress)
        figures = evaluate(model, studies, split="test", out=folder / "metrics.json", progress=progress)
        unseen = splits["test"][0]
        predict(model, studies / unseen, out=folder / "result")
    return figures
