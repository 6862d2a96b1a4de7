"""Hashes of cases: of what files and arrays hold, never of where or since when."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from isocenter.data import Dataset
from isocenter.data import content as module
from isocenter.data.content import ContentHash, digest_of
from isocenter.data.layouts.parts import LabelFile
from isocenter.errors import FileFormatError
from isocenter.io.refs import nifti_ref
from isocenter.records import (
    Boxes,
    Case,
    ClassLabel,
    ImageRef,
    LabelMap,
    LabelSchema,
    Masks,
    Points,
    Region,
    Scalar,
)  # fmt: skip
from isocenter.volume import Grid, Volume

SCHEMA = LabelSchema.of({"liver": 1})
GRID = Grid.regular((2, 3, 4), spacing_mm=(5, 1, 1))


def nifti(path: Path, *, seed: int = 0, shape: tuple[int, ...] = (4, 3, 2)) -> Path:
    array = np.random.default_rng(seed).integers(0, 2, shape).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([1, 1, 5, 1])), path)
    return path


def case_of(folder: Path, *, case: str = "a", image: int = 0, label: int = 1) -> Case:
    """Files of a seed each; uncompressed, because gzip writes the time into its header."""
    ref = nifti_ref("ct", nifti(folder / f"{case}_image.nii", seed=image), "CT")
    path = nifti(folder / f"{case}_label.nii", seed=label)
    truth = LabelMap(image="ct", source=str(path), schema=SCHEMA, read=LabelFile(path))
    return Case(case, f"patient-{case}", {"ct": ref}, (truth,), {"vendor": case})


def digest(case: Case, **chosen: object) -> str:
    return digest_of(ContentHash().case(case, **chosen))


def ref_of(volume: Volume, name: str = "ct") -> ImageRef:
    return ImageRef(name, "memory", lambda region, level: volume, lambda: volume.grid)


def label_of(volume: Volume, schema: LabelSchema = SCHEMA, **named: object) -> LabelMap:
    return LabelMap(**{"image": "ct", "schema": schema, "read": lambda: volume, **named})


def volume_of(seed: int = 0, grid: Grid = GRID) -> Volume:
    return Volume(np.random.default_rng(seed).normal(size=grid.shape).astype(np.float32), grid)


def test_neither_names_nor_places_nor_times_take_part(tmp_path: Path) -> None:
    case = case_of(tmp_path / "one")
    first = digest(case)
    assert digest(case_of(tmp_path / "two" / "deep", case="another")) == first
    for ref in (*case.image("ct").files, case.annotations[0].source):
        os.utime(ref, (1, 1))
    assert digest(case) == first
    assert digest(replace(case, attributes={}, patient="p", priors=("b",))) == first


def test_every_file_takes_part(tmp_path: Path) -> None:
    seeds = [{}, {"image": 2}, {"label": 2}, {"image": 1, "label": 0}]
    assert len({digest(case_of(tmp_path / str(k), **s)) for k, s in enumerate(seeds)}) == 4
    case = case_of(tmp_path / "a")
    assert digest(case, sets=()) == digest(replace(case, annotations=()))
    assert digest(case, images=()) != digest(case)
    assert digest(case, sets=["main"]) == digest(case) != digest(case, sets=["scribble"])


def test_what_a_reader_takes_from_its_files_takes_part(tmp_path: Path) -> None:
    path = nifti(tmp_path / "four.nii", shape=(4, 3, 2, 2))
    first, second = (nifti_ref("mr", path, channel=k) for k in (0, 1))
    assert ContentHash().image(first)["files"] == ContentHash().image(second)["files"]
    assert ContentHash().image(first) != ContentHash().image(second)
    case = case_of(tmp_path)
    other = replace(case, annotations=(replace(case.annotations[0], schema=LabelSchema.of({"liver": 2})),))
    assert digest(other) != digest(case)


def test_dicom_series_and_segmentations_are_known_by_their_files(studies: Path, tmp_path: Path) -> None:
    first = Dataset.read(studies)
    case = first[first.ids[0]]
    assert "files" in ContentHash().image(case.image("ct"))
    assert "files" in ContentHash().annotation(case.annotations[0])["voxels"]
    shutil.copytree(studies, tmp_path / "moved")
    slices = sorted((tmp_path / "moved" / case.id / "ct").iterdir())
    for number, path in enumerate(slices):  # other names, in another order
        path.rename(path.with_name(f"slice{len(slices) - number:03d}"))
    moved = Dataset.read(tmp_path / "moved")
    assert [digest(moved[i]) for i in first.ids] == [digest(c) for c in first]
    assert len({digest(c) for c in first}) == len(first)
    path = Path(case.image("ct").files[0])
    one = next(p for p in (tmp_path / "moved" / case.id / "ct").iterdir() if p.read_bytes() == path.read_bytes())
    one.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert digest(moved[case.id]) != digest(case)


ANNOTATIONS: dict[str, Callable[[], tuple[object, ...]]] = {
    "label map": lambda: (
        label_of(volume_of()),
        label_of(volume_of(1)),
        label_of(volume_of(0, GRID.flip([0]))),
        label_of(volume_of(), LabelSchema.of({"liver": 1}, ignore=9)),
        label_of(volume_of(), name="scribble"),
        label_of(volume_of(), image=None),
        Masks(image="ct", schema=SCHEMA, read=volume_of),
    ),
    "boxes": lambda: tuple(
        Boxes(schema=schema, corners=np.full((1, 6), corner), classes=np.array([k]), instances=instances, scores=scores)
        for schema, corner, k, instances, scores in (
            (SCHEMA, 1.0, 0, None, None),
            (SCHEMA, 2.0, 0, None, None),
            (SCHEMA, 1.0, 1, None, None),
            (SCHEMA, 1.0, 0, volume_of, None),
            (SCHEMA, 1.0, 0, lambda: volume_of(1), None),
            (SCHEMA, 1.0, 0, None, np.ones(1)),
            (LabelSchema.of({"spleen": 1}), 1.0, 0, None, None),
        )
    ),
    "points": lambda: tuple(
        Points(schema=SCHEMA, positions_mm=np.full((1, 3), place), classes=np.array([k]))
        for place, k in ((1.0, 0), (2.0, 0), (1.0, 1))
    ),
    "classes": lambda: (
        ClassLabel(classes=("a", "b"), values=("a",)),
        ClassLabel(classes=("a", "b"), values=("b",)),
        ClassLabel(classes=("a", "b", "c"), values=("a",)),
        ClassLabel(classes=("a", "b"), values=("a",), exclusive=False),
    ),
    "numbers": lambda: (Scalar(value=0.1), Scalar(value=0.1 + 1e-17 * 8), Scalar(value=0.1, unit="mL")),
}


@pytest.mark.parametrize("kind", ANNOTATIONS)
def test_everything_that_an_annotation_states_takes_part_but_its_source(kind: str) -> None:
    def facts(annotations: tuple[object, ...]) -> list[str]:
        found = [replace(a, source=str(time.monotonic_ns())) for a in annotations]
        return [digest(Case("a", "p", {"ct": ref_of(volume_of())}, (a,))) for a in found]

    first, again = facts(ANNOTATIONS[kind]()), facts(ANNOTATIONS[kind]())
    assert first == again
    assert len(set(first)) == len(first)


def test_images_in_memory_are_known_by_values_type_and_grid() -> None:
    volumes = [volume_of(), volume_of(1), volume_of(0, GRID.flip([1])), volume_of(0, replace(GRID, frame="1.2"))]
    volumes.append(Volume(volume_of().array.astype(np.float64), GRID))
    assert len({digest(Case("a", "p", {"ct": ref_of(v)})) for v in volumes}) == 5
    assert digest(Case("a", "p", {"ct": ref_of(volume_of())})) != digest(Case("a", "p", {"mr": ref_of(volume_of())}))
    swapped = Volume(volume_of().array.astype(">f4"), GRID)
    assert digest(Case("a", "p", {"ct": ref_of(swapped)})) == digest(Case("b", "p", {"ct": ref_of(swapped)}))


def test_the_grid_of_an_image_that_only_an_annotation_lies_on_takes_part() -> None:
    def case(grid: Grid) -> Case:
        images = {"ct": ref_of(volume_of()), "mr": ref_of(volume_of(3, grid), "mr")}
        return Case("a", "p", images, (ClassLabel(classes=("a",), values=("a",), image="mr"),))

    assert digest(case(GRID), images=["ct"]) != digest(case(GRID.flip([2])), images=["ct"])
    assert digest(case(GRID), images=["ct"], sets=()) == digest(case(GRID.flip([2])), images=["ct"], sets=())


@dataclass(frozen=True)
class _Scaled:
    """A reader from outside: its table may say anything."""

    path: str
    factor: float = 1.0
    table: dict[str, float] | None = None

    def __call__(self, region: Region | None, level: int) -> Volume:
        factor = self.factor * (self.table or {}).get("factor", 1.0)
        return Volume(nibabel.load(self.path).get_fdata().T * factor, GRID)


def test_readers_from_outside_are_called_where_their_fields_do_not_tell_all(tmp_path: Path) -> None:
    path = str(nifti(tmp_path / "a.nii"))

    def facts(reader: _Scaled) -> dict[str, object]:
        return ContentHash().image(ImageRef("ct", path, reader, lambda: GRID, files=(path,)))

    plain, scaled = facts(_Scaled(path)), facts(_Scaled(path, 2.0))
    assert "files" in plain
    assert plain != scaled
    read = [facts(_Scaled(path, table={"factor": f})) for f in (2.0, 3.0)]
    assert [set(r) for r in read] == [{"array", "grid"}] * 2
    assert read[0] != read[1]


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    case = case_of(tmp_path)
    os.unlink(case.image("ct").files[0])
    with pytest.raises(FileFormatError, match=r"a_image\.nii: cannot be read \(No such file"):
        digest(case)


def test_hashes_of_files_are_remembered_until_the_files_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of(tmp_path / "data")
    hashes, calls = ContentHash(tmp_path / "notes"), []
    real = module._file
    monkeypatch.setattr(module, "_file", lambda path: (calls.append(path), real(path))[1])
    monkeypatch.setattr(module, "_SETTLED_NS", 0)
    time.sleep(0.05)  # the clock of files ticks in hundredths of a second
    first = digest_of(hashes.case(case))
    assert len(calls) == 2
    assert digest_of(ContentHash(tmp_path / "notes").case(case)) == first
    assert len(calls) == 2
    # same size, same time of writing, other bytes
    path = Path(case.image("ct").files[0])
    before = path.stat()
    path.write_bytes(nifti(tmp_path / "other.nii", seed=9).read_bytes())
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert digest_of(hashes.case(case)) != first
    assert len(calls) == 3
    for note in (tmp_path / "notes").rglob("*"):
        if note.is_file():
            note.write_text("damaged")
    assert digest_of(hashes.case(case)) == digest(case) != first


def test_files_written_a_moment_ago_are_hashed_again(tmp_path: Path) -> None:
    case = case_of(tmp_path / "data")
    ContentHash(tmp_path / "notes").case(case)
    assert not (tmp_path / "notes").exists()


def test_notes_that_cannot_be_written_cost_time_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SETTLED_NS", -(10**12))
    (tmp_path / "notes").touch()  # no folder
    case = case_of(tmp_path / "data")
    assert digest_of(ContentHash(tmp_path / "notes").case(case)) == digest(case)
    shutil.rmtree(tmp_path / "data")
