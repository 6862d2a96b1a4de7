"""What both peers share: the command line, the clock, the list of cases, the facts they hand back."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclass
class Clock:
    """One budget of wall-clock seconds for preparing and training together; prediction is timed on its own.

    Attributes:
        seconds: The budget, counted from ``began``.
        began: When the script started, in the seconds of ``time.perf_counter``: before its imports.
        marks: When each part ended, in the same seconds.
        iterations: Optimiser steps taken.
    """

    seconds: float
    began: float
    marks: dict[str, float] = field(default_factory=dict)
    iterations: int = 0

    def mark(self, part: str) -> None:
        """A part ends now."""
        self.marks[part] = time.perf_counter()

    def another(self) -> bool:
        """Whether one more step fits, taking the mean of those so far; also counts it."""
        elapsed = time.perf_counter() - self.marks["prepare"]
        left = self.began + self.seconds - time.perf_counter()
        if left < (elapsed / self.iterations if self.iterations else 0.0):
            return False
        self.iterations += 1
        return True

    def progress(self) -> float:
        """Share of the training time that has gone by, 0 to 1: the schedules of rates follow it."""
        start, end = self.marks["prepare"], self.began + self.seconds
        return min(max((time.perf_counter() - start) / max(end - start, 1e-9), 0.0), 1.0)

    def facts(self, *, batch: int, packages: tuple[str, ...], settings: dict[str, Any]) -> dict[str, Any]:
        """What the caller reads beside the label maps; seconds of wall clock."""
        train = self.marks["train"] - self.marks["prepare"]
        return {
            "seconds_prepare": self.marks["prepare"] - self.began,
            "seconds_train": train,
            "seconds_predict": self.marks["predict"] - self.marks["train"],
            "iterations": self.iterations,
            "images_per_second": self.iterations * batch / train,
            "batch": batch,
            "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
            "settings": {"cores": cores(), **settings},
        }


def options(about: str) -> argparse.Namespace:
    """The command line both scripts take."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--train", type=Path, required=True, help="JSON: cases to train on, and images to predict")
    parser.add_argument("--out", type=Path, required=True, help="folder for the label maps and facts.json")
    parser.add_argument("--seconds", type=float, default=600.0, help="budget of preparing and training together")
    parser.add_argument("--kind", action="store_true", help="tuned for the budget instead of as it comes")
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def read_list(path: Path) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    """Cases to train on (case, image, label) and to predict (case, image)."""
    listed = json.loads(path.read_text(encoding="utf-8"))
    return listed["train"], listed["test"]


def read_labels(path: str | Path) -> tuple[Any, Any]:
    """Labels (x, y, z), uint8, and affine of a NIfTI file."""
    import nibabel
    import numpy as np

    image: Any = nibabel.load(path)
    return np.asarray(image.dataobj).astype(np.uint8), image.affine


def write_labels(path: Path, labels: Any, affine: Any) -> None:
    """A NIfTI file of labels (x, y, z), as uint8."""
    import nibabel
    import numpy as np

    nibabel.save(nibabel.Nifti1Image(np.asarray(labels).astype(np.uint8), np.asarray(affine)), path)


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """``facts.json`` in the output folder."""
    (folder / "facts.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(facts, indent=2))
