"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from isocenter.io.files import atomic_folder, atomic_path, read_json, write_json
from isocenter.records import ConfigError, FileFormatError, ValueRangeError


def test_path_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "mask.nii.gz"
    with atomic_path(target) as part:
        part.write_bytes(b"whole")
        assert not target.exists()
        assert part.parent == target.parent
        assert part.name.endswith("mask.nii.gz")
    assert target.read_bytes() == b"whole"
    assert os.listdir(target.parent) == ["mask.nii.gz"]


def test_failed_write_keeps_the_old_file_and_leaves_nothing(tmp_path: Path) -> None:
    target = tmp_path / "plan.yaml"
    target.write_text("old")

    def write() -> None:
        with atomic_path(target) as part:
            part.write_text("half")
            raise KeyError("body")

    with pytest.raises(KeyError, match="body"):
        write()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["plan.yaml"]


def test_unwritable_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"), atomic_path(tmp_path / "file" / "x.json") as part:
        part.write_text("")
    with pytest.raises(ConfigError, match="is a folder"), atomic_path(tmp_path) as part:
        part.write_text("")


def test_error_of_the_body_is_not_taken_for_one_of_the_place(tmp_path: Path) -> None:
    (tmp_path / "y").mkdir()
    with pytest.raises(FileExistsError), atomic_path(tmp_path / "x"):
        (tmp_path / "y").mkdir()


def test_folder_appears_only_when_the_block_ends(tmp_path: Path) -> None:
    target = tmp_path / "model"
    target.mkdir()  # empty: allowed
    with atomic_folder(target) as part:
        (part / "sub").mkdir()
        (part / "sub" / "a").write_text("1")
        assert not any(target.iterdir())
    assert (target / "sub" / "a").read_text() == "1"
    assert os.listdir(tmp_path) == ["model"]


def test_folder_with_content_is_refused_unless_overwritten(tmp_path: Path) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("")
    with pytest.raises(ConfigError, match="is not empty"), atomic_folder(target):
        pytest.fail("the block must not run")
    with pytest.raises(FileNotFoundError), atomic_folder(target, overwrite=True) as part:
        (part / "none" / "new").write_text("")
    assert os.listdir(target) == ["old"]
    with atomic_folder(target, overwrite=True) as part:
        (part / "new").write_text("")
    assert os.listdir(target) == ["new"]
    assert os.listdir(tmp_path) == ["out"]


def test_folder_never_replaces_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "a" / "b"
    work.mkdir(parents=True)
    monkeypatch.chdir(work)
    with pytest.raises(ConfigError, match="working or home folder"), atomic_folder(tmp_path / "a", overwrite=True):
        pytest.fail("the block must not run")


def test_file_where_a_folder_is_to_go(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("")
    with pytest.raises(ConfigError, match="is a file"), atomic_folder(tmp_path / "f", overwrite=True):
        pytest.fail("the block must not run")


def test_json_round_trip_is_sorted_and_plain(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"b": np.float32(0.5), "a": (1, np.arange(2)), "p": Path("x"), "ä": None})
    assert read_json(path) == {"a": [1, [0, 1]], "b": 0.5, "p": "x", "ä": None}
    text = path.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("value", [float("nan"), np.float32("inf"), np.array([0.0, np.nan])])
def test_json_refuses_nan_and_says_where(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueRangeError, match=r"summary\.dice"):
        write_json(tmp_path / "m.json", {"summary": {"dice": value}})
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"{\n  'a': 1}", "line 2, column 3"), (b"\xff\xfe\x00", "not JSON"), (b"", "not JSON"), (b"[" * 100000, "JSON")],
)
def test_json_damage_is_located(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "dataset.json"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=words) as caught:
        read_json(path)
    assert str(path) in str(caught.value)


def test_missing_json(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="No such file"):
        read_json(tmp_path / "none.json")
