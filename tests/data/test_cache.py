"""The store of prepared arrays: entries are whole or absent, built once, and damage is found and mended."""

from __future__ import annotations

import errno
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocenter.data import CaseCache
from isocenter.data import cache as module
from isocenter.data.locks import locked
from isocenter.errors import CacheError, LabelError

ARRAYS = {
    "image": np.random.default_rng(0).normal(size=(1, 40, 50, 60)).astype(np.float32),
    "labels": np.arange(24, dtype=np.uint8).reshape(1, 2, 3, 4),
    "answer": np.array(3),
}


class Maker:
    """Counts how often it is asked."""

    def __init__(self, facts: dict[str, object] | None = None) -> None:
        self.calls = 0
        self.facts = facts or {"grid": [0.1, 1e-300]}

    def __call__(self) -> tuple[dict[str, np.ndarray], dict[str, object]]:
        self.calls += 1
        return ARRAYS, self.facts


def check(entry: module.CacheEntry | None) -> None:
    assert entry is not None
    assert list(entry.arrays) == list(ARRAYS)
    for name, array in ARRAYS.items():
        found = entry.arrays[name].read()
        assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def leftovers(folder: Path) -> list[str]:
    return [str(p.relative_to(folder)) for p in folder.rglob(".*")]


def test_an_entry_is_made_once_and_kept(tmp_path: Path) -> None:
    make, key = Maker(), CaseCache.key({"case": 1})
    cache = CaseCache(tmp_path / "deep" / "cache")
    assert cache.open(key) is None
    check(cache.get(key, make))
    check(cache.get(key, make))
    again = CaseCache(tmp_path / "deep" / "cache").open(key)
    check(again)
    assert again is not None
    assert again.facts == make.facts
    assert make.calls == 1
    assert (cache.folder / key[:2] / key / "facts.json").is_file()
    assert leftovers(cache.folder) == []


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
def test_numbers_among_the_facts_come_back_exactly(numbers: list[float]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        cache, key = CaseCache(folder), CaseCache.key({"numbers": len(numbers)})
        cache.get(key, lambda: ({}, {"numbers": numbers}))
        entry = cache.open(key)
        assert entry is not None
        assert [float(n).hex() for n in entry.facts["numbers"]] == [n.hex() for n in numbers]


def test_keys_are_of_content_and_not_of_its_order() -> None:
    key = CaseCache.key({"a": 1, "b": [0.1, None]})
    assert key == CaseCache.key({"b": (0.1, None), "a": 1})
    others = [{"a": 1, "b": [0.1, 0]}, {"a": 2, "b": [0.1, None]}, {"a": 1, "c": [0.1, None]}, {}]
    assert len({key, *map(CaseCache.key, others)}) == 5
    assert len(key) == 64


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "one bit of an image": lambda entry: _flip(entry / "0.bricks", 1000),
    "the end of an image": lambda entry: os.truncate(entry / "0.bricks", 999),
    "an array": lambda entry: (entry / "1.bricks").unlink(),
    "more bytes": lambda entry: (entry / "1.bricks").write_bytes((entry / "1.bricks").read_bytes() + b"x"),
    "the facts": lambda entry: (entry / "facts.json").unlink(),
    "half of the facts": lambda entry: os.truncate(entry / "facts.json", 100),
    "a digit of the facts": lambda entry: (entry / "facts.json").write_text(
        (entry / "facts.json").read_text().replace("0.1", "0.2")
    ),
    "facts of another kind": lambda entry: (entry / "facts.json").write_text('"text"'),
    "the facts of another entry": lambda entry: (entry / "facts.json").write_text(
        (entry.parents[1] / CaseCache.key({})[:2] / CaseCache.key({}) / "facts.json").read_text()
    ),
    "everything": lambda entry: [p.unlink() for p in entry.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_told_removed_and_built_again(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, make, key = CaseCache(tmp_path), Maker(), CaseCache.key({"case": 1})
    cache.get(CaseCache.key({}), make)
    cache.get(key, make)
    DAMAGE[damage](tmp_path / key[:2] / key)
    assert CaseCache(tmp_path).open(key) is None
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        check(cache.get(key, make))
    (record,) = caplog.records
    assert f"entry {key[:12]} is damaged (" in record.message
    assert make.calls == 3
    check(cache.open(key))
    assert leftovers(tmp_path) == []


def test_an_error_of_the_maker_leaves_nothing(tmp_path: Path) -> None:
    cache, key = CaseCache(tmp_path), CaseCache.key({})

    def make() -> module.Made:
        raise LabelError("case a: no label")

    with pytest.raises(LabelError, match="no label"):
        cache.get(key, make)

    def broken() -> module.Made:
        raise FileNotFoundError(2, "gone", "image.nii")  # not the cache's own trouble

    with pytest.raises(FileNotFoundError):
        cache.get(key, broken)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    assert cache.open(key) is None


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_full_disk_is_said_and_leaves_nothing(after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, key, make = CaseCache(tmp_path), CaseCache.key({}), Maker()
    real, count = os.fsync, [0]

    def fsync(handle: int) -> None:
        count[0] += 1
        if count[0] > after:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        with pytest.raises(
            CacheError, match=r"cannot be kept \(No space left.* MB are free there\); free some"
        ) as info:
            cache.get(key, make)
    assert str(tmp_path) in str(info.value)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    check(cache.get(key, make))


def _unshared(tmp_path: Path, mount: str, code: str) -> str:
    """Output of Python code in a name space of its own, after ``mount``; skips where that is forbidden."""
    command = ["unshare", "--mount", "--map-root-user", "sh", "-c", f'{mount} || exit 99; exec "$@"', "sh"]
    try:
        done = subprocess.run(
            [*command, sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=tmp_path,
        )
    except FileNotFoundError:
        pytest.skip("no unshare on this system")
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip(f"mounting is not permitted here: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


CODE = """
import os, sys
import numpy as np
from isocenter.data import CaseCache
from isocenter.errors import CacheError
cache = CaseCache("cache")
noise = np.random.default_rng(0).integers(0, 256, {size}, dtype=np.uint8)
try:
    entry = cache.get(cache.key({{"size": {size}}}), lambda: ({{"noise": noise}}, {{}}))
    print("kept", bool((entry.arrays["noise"].read() == noise).all()))
except CacheError as error:
    print("refused", error)
print(sum(name == "0.bricks" for _, _, names in os.walk("cache") for name in names))
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    code = CODE.format(size=3_000_000) + CODE.format(size=500_000)
    said = _unshared(tmp_path, "mount -t tmpfs -o size=2m tiny cache", code).splitlines()
    assert said[0].startswith("refused")
    assert "No space left on device" in said[0]
    assert said[1:] == ["0", "kept True", "1"]


def test_a_cache_that_cannot_be_written_gives_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    subprocess.run([sys.executable, "-c", CODE.format(size=1000)], cwd=tmp_path, check=True, timeout=60)
    code = CODE.format(size=1000) + CODE.format(size=2000)
    said = _unshared(tmp_path, "mount --bind cache cache && mount -o remount,ro,bind cache", code).splitlines()
    assert said[:2] == ["kept True", "1"]
    assert "Read-only file system" in said[2]


def test_what_dead_builders_left_is_removed_and_what_living_ones_write_is_not(tmp_path: Path) -> None:
    cache, dead, alive = CaseCache(tmp_path), CaseCache.key({"dead": 1}), CaseCache.key({"alive": 1})
    for key in (dead, alive):
        for kind in ("new", "old"):
            (tmp_path / key[:2] / f".abcdef.{kind}.{key}").mkdir(parents=True)
    (tmp_path / dead[:2] / f".{dead}.lock").touch()
    with locked(tmp_path / alive[:2] / f".{alive}.lock"):
        assert cache.clean() == 1
        assert len(leftovers(tmp_path)) == 3  # two folders and the lock
    assert cache.clean() == 1
    assert leftovers(tmp_path) == []
    assert cache.clean() == 0
    assert CaseCache(tmp_path / "none").clean() == 0


def test_threads_that_ask_at_once_build_once(tmp_path: Path) -> None:
    key, inside = CaseCache.key({}), threading.Event()
    calls = []

    def make() -> module.Made:
        calls.append(1)
        inside.set()
        time.sleep(0.2)
        return ARRAYS, {}

    found = [None] * 4
    threads = [
        threading.Thread(target=lambda k=k: found.__setitem__(k, CaseCache(tmp_path).get(key, make))) for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for entry in found:
        check(entry)
    assert calls == [1]
    assert leftovers(tmp_path) == []


def test_without_locks_the_second_builder_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fcntl", None)
    cache, key, second = CaseCache(tmp_path), CaseCache.key({}), Maker()
    (tmp_path / key[:2] / f".abcdef.new.{key}").mkdir(parents=True)  # nobody knows whose it is

    def first() -> module.Made:
        check(cache.get(key, second))
        return ARRAYS, {"by": "first"}

    entry = cache.get(key, first)
    check(entry)
    assert entry.facts == second.facts
    assert second.calls == 1
    assert cache.clean() == 0
    assert len(leftovers(tmp_path)) == 1


STAGES = """
import os, signal, sys
from pathlib import Path
import numpy as np
from isocenter.data import CaseCache, bricks, cache as module

def dies(owner, name, when, after=False):
    real, count = getattr(owner, name), [0]
    def call(*args, **named):
        count[0] += 1
        if count[0] == when and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        given = real(*args, **named)
        if count[0] == when:
            os.kill(os.getpid(), signal.SIGKILL)
        return given
    setattr(owner, name, call)

stages = {
    "while it makes": lambda: None,
    "in the second array": lambda: dies(bricks, "_pack", 3),
    "before the facts": lambda: dies(module, "digest_of", 1),
    "before the rename": lambda: dies(os, "replace", 1),
    "after the rename": lambda: dies(os, "replace", 1, after=True),
    "before the lock is given back": lambda: dies(Path, "unlink", 1),
}
arrays = {"image": np.ones((1, 40, 8, 80), np.float32), "labels": np.ones((1, 2, 2, 2), np.uint8)}
def make():
    if sys.argv[2] == "while it makes":
        os.kill(os.getpid(), signal.SIGKILL)
    return arrays, {}
key = CaseCache.key({})
stages[sys.argv[2]]()
CaseCache(sys.argv[1]).get(key, make)
"""


@pytest.mark.parametrize("whole", [False, True])
def test_a_builder_killed_at_any_stage_leaves_an_entry_or_none(tmp_path: Path, whole: bool) -> None:
    stages = {
        False: ("while it makes", "in the second array", "before the facts", "before the rename"),
        True: ("after the rename", "before the lock is given back"),
    }
    killed = {
        stage: subprocess.Popen([sys.executable, "-c", STAGES, str(tmp_path / stage), stage]) for stage in stages[whole]
    }
    key, arrays = CaseCache.key({}), {"image": np.ones((1, 40, 8, 80), np.float32)}
    for stage, process in killed.items():
        assert process.wait(60) == -signal.SIGKILL, stage
        cache = CaseCache(tmp_path / stage)
        assert leftovers(cache.folder) != []
        assert (cache.open(key) is not None) == whole, stage
        calls: list[int] = []
        entry = cache.get(key, lambda calls=calls: (calls.append(1), (arrays, {}))[1])
        assert (entry.arrays["image"].read() == 1).all()
        assert len(calls) == (0 if whole else 1)
        cache.clean()
        assert leftovers(cache.folder) == []
        assert json.loads((cache.folder / key[:2] / key / "facts.json").read_text())["key"] == key
