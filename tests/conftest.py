"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# The first example pays for imports and compiled kernels, so a deadline per example would only measure the machine.
settings.register_profile("isocenter", deadline=None, print_blob=True, derandomize="CI" in os.environ)
settings.load_profile("isocenter")


def _data_folder() -> Path:
    return Path(os.environ.get("ISOCENTER_TEST_DATA") or ROOT.parent / "shared" / "data")


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """Path of a folder of real imaging data by its name; skips the test, with the reason, where it is absent."""

    def find(name: str) -> Path:
        path = _data_folder() / name
        if not path.exists():
            pytest.skip(f"real data '{name}' is not here; set ISOCENTER_TEST_DATA to the folder that holds it")
        return path

    return find


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four simulated chest CT studies, coarse so that everything on them is quick; do not write into it."""
    import isocenter

    out = tmp_path_factory.mktemp("line") / "studies"
    return isocenter.simulate("thorax", out=out, cases=4, matrix=48, slice_mm=15, seed=7)


TINY = (
    "training.steps=3",
    "training.batch=1",
    "training.patch=[8,32,32]",
    "training.validations=1",
    "inference.window=[8,32,32]",
    "network.options={stem: [1,2,2], strides: [[1,1,1],[2,2,2]], channels: [8,8]}",
)
"""Settings of a fit that learns nothing, in a second."""


@pytest.fixture(scope="session")
def trained(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder for ``studies``; do not write into it."""
    import isocenter

    out = tmp_path_factory.mktemp("trained") / "model"
    isocenter.fit(studies, out=out, settings=TINY)
    return out


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Settings of a fit that learns nothing, in a second."""
    return TINY
