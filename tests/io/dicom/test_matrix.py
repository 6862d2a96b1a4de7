"""The reading matrix in small: synthetic input only, Isocenter alone; and that its score sees what is wrong."""

from __future__ import annotations

import importlib
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[3]


def _part(name: str) -> Any:
    """A module of the benchmark, without leaving its folder on the path for other tests."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module(f"_dicom.{name}")
    finally:
        sys.path.pop(0)


inputs, mutations, phantom, synthetic = (_part(n) for n in ("inputs", "mutations", "phantom", "synthetic"))
truth, scoring, judging, readers, running = (_part(n) for n in ("truth", "scoring", "judging", "readers", "running"))
PAGE = ROOT / "docs" / "concepts" / "reading-matrix.md"


@pytest.fixture(scope="module")
def series() -> Any:
    return mutations.base_series(None)


def _ask(path: Path) -> Any:
    given = readers.Given()
    readers.READERS["isocenter"][1](str(path), given)
    return running.Answer(
        [scoring.Lattice(*parts) for parts in given.volumes],
        [scoring.Sheets(*parts) for parts in given.sheets],
        [scoring.Lattice(*parts) for parts in given.resampled],
        given.refused,
        given.aside,
        given.crashed,
    )


@pytest.mark.parametrize(
    "one",
    [pytest.param(one, id=one.where) for one in inputs.MADE],
)
def test_as_written_down_before(one: Any, series: Any, tmp_path: Path) -> None:
    path = mutations.make(one.where.partition(":")[2], series, tmp_path)
    frames = truth.frames_of(path, one.aside)
    verdict = judging.judge_ours(one, frames, _ask(path))
    assert verdict.good, verdict
    assert verdict.outcome != "silently wrong"


@pytest.mark.parametrize(
    "name", ["shuffled", "tilt", "oblique", "two-steps", "enhanced", "mosaic", "big-endian", "rle"]
)
def test_truth_is_the_anatomy(name: str, series: Any, tmp_path: Path) -> None:
    """What the truth reads from headers is what was drawn at that place in the patient."""
    frames = truth.frames_of(mutations.make(name, series, tmp_path))
    assert len(frames) == synthetic.COUNT
    rows, columns = np.meshgrid(*(np.arange(n) for n in frames[0].stored.shape), indexing="ij")
    for frame in frames:
        drawn = np.rint(phantom.anatomy(frame.place(rows, columns)))
        # positions are written with ten digits, so a value in the middle of two may be rounded either way
        assert np.abs(frame.stored + phantom.INTERCEPT - drawn).max() <= 1
        assert (frame.stored + phantom.INTERCEPT == drawn).mean() > 0.999


class TestScore:
    @pytest.fixture
    def right(self, series: Any, tmp_path: Path) -> Any:
        frames = truth.frames_of(mutations.make("times", series, tmp_path))
        return frames, _ask(tmp_path / "times").volumes

    def test_right(self, right: Any) -> None:
        assert scoring.score(*right) == scoring.Score(1.0, 0, 30)

    def test_moved_by_a_hundredth_of_a_millimetre(self, right: Any) -> None:
        frames, (first, *others) = right
        moved = first.affine + np.outer([0, 0, 1, 0], [0, 0, 0, 0.011])
        found = scoring.score(frames, [replace(first, affine=moved), *others])
        assert found == scoring.Score(2 / 3, 10, 30)

    def test_one_value_too_high(self, right: Any) -> None:
        frames, (first, *others) = right
        found = scoring.score(frames, [replace(first, array=first.array + 1), *others])
        assert found.right < 0.7

    def test_times_mixed_up(self, right: Any) -> None:
        """Every image is somewhere, at its place, but two of them are in another's volume."""
        frames, (first, second, third) = right
        a, b = first.array.copy(), second.array.copy()
        a[3], b[3] = second.array[3], first.array[3]
        found = scoring.score(frames, [replace(first, array=a), replace(second, array=b), third])
        assert found == scoring.Score(28 / 30, 2, 30)

    def test_invented_slice(self, right: Any) -> None:
        frames, (first, *others) = right
        longer = replace(first, array=np.concatenate([first.array, first.array[-1:]]))
        assert scoring.score(frames, [longer, *others]) == scoring.Score(1.0, 1, 31)

    def test_one_volume_for_all_times(self, right: Any) -> None:
        frames, (first, *_) = right
        assert scoring.score(frames, [first]) == scoring.Score(1 / 3, 0, 10)

    def test_turned_over(self, right: Any) -> None:
        frames, (first, *others) = right
        assert scoring.score(frames, [replace(first, array=first.array[:, ::-1]), *others]).right < 0.7


def test_page_names_every_input_and_reason() -> None:
    page = PAGE.read_text(encoding="utf-8")
    must_read, _, must_refuse = page.partition("## Must be refused")
    for one in inputs.MADE:
        assert f"| {one.name} | {one.why} |" in (must_read if one.read else must_refuse), one.name
