"""A layout from outside the package works by name and by detection."""

from __future__ import annotations

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from isocenter.data import CaseDataset, CaseProblem, Dataset, layout_names, register_layout
from isocenter.data.layouts import registry
from isocenter.errors import ConfigError, DatasetError, PlanError
from isocenter.records import Case, ImageRef, LabelMap, LabelSchema
from isocenter.volume import Grid, Volume

GRID = Grid.regular((2, 4, 4), spacing_mm=(1, 1, 1))


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    built_in = {name: registry.layout_named(name) for name in registry._BUILT_IN}
    monkeypatch.setattr(registry._REGISTRY, "_items", built_in)


def npz_layout() -> type:
    class Npz:
        """Cases as ``.npz`` files with ``image`` and ``label``."""

        def detect(self, path: Path) -> bool:
            return path.is_dir() and any(path.glob("*.npz"))

        def read(self, path: Path) -> CaseDataset:
            cases, problems = [], []
            for file in sorted(path.glob("*.npz")):
                if file.stat().st_size == 0:
                    problems.append(CaseProblem(file.stem, f"{file} is empty"))
                    continue
                ref = ImageRef("mr", str(file), lambda r, v, f=file: self._volume(f, "image"), lambda: GRID, "MR")
                label = LabelMap(image="mr", schema=LabelSchema(()), read=lambda f=file: self._volume(f, "label"))
                cases.append(Case(file.stem, file.stem, {"mr": ref}, (label,)))
            return CaseDataset("npz", tuple(cases), problems=tuple(problems))

        def _volume(self, file: Path, key: str) -> Volume:
            return Volume(np.load(file)[key], GRID, "label" if key == "label" else "a.u.")

    return Npz


@pytest.fixture
def npz_folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(1)
    for case in ("a", "b"):
        np.savez(tmp_path / f"{case}.npz", image=rng.normal(size=(2, 4, 4)), label=rng.integers(0, 6, (2, 4, 4)))
    (tmp_path / "c.npz").touch()
    return tmp_path


def test_registered_layout_is_found_checked_and_given_a_schema(npz_folder: Path) -> None:
    with pytest.raises(DatasetError, match="no layout fits"):
        Dataset.read(npz_folder)
    register_layout("npz")(npz_layout())
    assert layout_names() == ("npz", "table", "msd", "nnunet", "dicom")
    dataset = Dataset.read(npz_folder)
    assert (dataset.layout, dataset.ids) == ("npz", ("a", "b"))
    assert dataset.schema is not None
    assert dataset.schema.values == {1, 2, 3, 4, 5}
    assert dataset["a"].image("mr").read().array.shape == (1, 2, 4, 4)
    assert [p.case for p in dataset.problems] == ["c"]


def test_layouts_from_outside_are_asked_first(nnunet_folder: Any, tmp_path: Path) -> None:
    folder = nnunet_folder()
    np.savez(folder / "a.npz", image=np.arange(32.0).reshape(2, 4, 4), label=np.ones((2, 4, 4), int))
    register_layout("npz")(npz_layout())
    assert Dataset.read(folder).layout == "npz"
    assert Dataset.read(folder, layout="nnunet").ids == ("a", "b", "c")


def test_entry_points_are_loaded_when_needed(npz_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Point(EntryPoint):
        def load(self) -> Any:
            if self.name == "broken":
                raise ImportError("no module named nothing")
            return npz_layout()

    points = EntryPoints((Point("npz", "x:y", "isocenter.layouts"), Point("broken", "x:y", "isocenter.layouts")))
    monkeypatch.setattr("isocenter.plan.registry.entry_points", lambda **wanted: points.select(**wanted))
    assert Dataset.read(npz_folder).layout == "npz"
    assert Dataset.read(npz_folder, layout="npz").ids == ("a", "b")


def test_names_are_taken_once_and_unknown_ones_get_a_hint(tmp_path: Path) -> None:
    register_layout("npz")(npz_layout())

    class Other:
        pass

    with pytest.raises(PlanError, match="already registered"):
        register_layout("npz")(Other)
    (tmp_path / "x").touch()
    with pytest.raises(ConfigError, match=r"no layout 'nnunett' .*did you mean 'nnunet'"):
        Dataset.read(tmp_path, layout="nnunett")


def test_a_dataset_of_ones_own_needs_two_things() -> None:
    class Mine(Dataset):
        @property
        def ids(self) -> tuple[str, ...]:
            return ("one", "two")

        def __getitem__(self, case_id: str) -> Case:
            ref = ImageRef("mr", "memory", lambda r, v: Volume(np.zeros((2, 4, 4)), GRID), lambda: GRID, "MR")
            return Case(case_id, case_id, {"mr": ref})

    dataset = Mine()
    assert (len(dataset), dataset.images, dict(dataset.modalities)) == (2, ("mr",), {"mr": "MR"})
    assert [case.id for case in dataset] == ["one", "two"]
    assert "two" in dataset
    assert dataset.subset(["two"]).ids == ("two",)
