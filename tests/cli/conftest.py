"""The command line as a person meets it, and small datasets to point it at."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from isocenter.cli.main import main

SHAPE = (32, 32, 8)  # as NIfTI stores it: columns, rows, slices
AFFINE = np.diag([-2.0, -2.0, 4.0, 1.0])  # towards left, back, head: 2 x 2 x 4 mm


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Done]:
    """Runs ``isocenter WORDS`` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["isocenter", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        said = capsys.readouterr()
        return Done(int(stop.value.code or 0), said.out, said.err)

    return call


@pytest.fixture
def ok(run: Callable[..., Done]) -> Callable[..., Done]:
    """Likewise, for what has to succeed."""

    def call(*words: object) -> Done:
        done = run(*words)
        assert done.code == 0, done.err
        assert done.err == ""
        return done

    return call


@pytest.fixture
def refused(run: Callable[..., Done], tmp_path: Path) -> Callable[..., str]:
    """Runs what has to be refused: one line that holds ``needles``, exit code 2, and no file made or changed."""

    def call(words: Sequence[object], *needles: object) -> str:
        before = contents(tmp_path)
        done = run(*words)
        assert done.code == 2, done
        assert done.out == ""
        assert done.err.startswith("isocenter: ")
        assert done.err.count("\n") == 1, done.err
        for needle in needles:
            assert str(needle) in done.err
        assert contents(tmp_path) == before
        return done.err

    return call


def contents(folder: Path) -> dict[str, str]:
    """Every file and folder below ``folder``, hidden ones too, with a hash of what it holds."""
    return {
        p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() if p.is_file() else "folder"
        for p in sorted(folder.rglob("*"))
    }


def save(path: Path, array: Any, affine: Any = AFFINE) -> Path:
    """Write a NIfTI file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)
    return path


def scene(number: int) -> tuple[np.ndarray, np.ndarray]:
    """An image with a bright and a dark block in noise, and a label map with 1 on the one and 2 on the other."""
    rng = np.random.default_rng(number)
    label = np.zeros(SHAPE, np.uint8)
    at = 4 + 2 * (number % 3)
    label[at : at + 8, 6:16, 2:6] = 1
    label[at + 12 : at + 18, 14:24, 1:5] = 2
    image = rng.normal(0, 10, SHAPE) + 100.0 * (label == 1) - 100.0 * (label == 2)
    return image.astype(np.float32), label


@pytest.fixture
def nnunet(tmp_path: Path) -> Callable[..., Path]:
    """Writes an nnU-Net folder with cases ``c0``, ``c1`` ...; each image is the scene plus 20 for its channel."""

    def make(
        cases: int = 3,
        *,
        channels: Sequence[str] = ("CT",),
        labels: Mapping[str, Any] | None = None,
        name: str = "data",
    ) -> Path:
        folder = tmp_path / name
        for n in range(cases):
            image, label = scene(n)
            for k in range(len(channels)):
                save(folder / "imagesTr" / f"c{n}_{k:04d}.nii.gz", image + np.float32(20 * k))
            save(folder / "labelsTr" / f"c{n}.nii.gz", label)
        facts = {
            "channel_names": {str(k): c for k, c in enumerate(channels)},
            "labels": labels or {"background": 0, "bright": 1, "dark": 2},
            "numTraining": cases,
            "file_ending": ".nii.gz",
        }
        (folder / "dataset.json").write_text(json.dumps(facts))
        return folder

    return make


@pytest.fixture
def sets(tiny: Sequence[str]) -> list[str]:
    """``--set`` words of a fit that learns nothing, in a second."""
    return [word for text in tiny for word in ("--set", text)]


@pytest.fixture(name="save")
def _save() -> Callable[..., Path]:
    return save
