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
