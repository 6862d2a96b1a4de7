"""The installed command as a process of its own: exit codes, streams, signals, and what it loads to start."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from isocenter import __version__

Run = Callable[..., Any]
COMMAND = Path(sys.executable).with_name("isocenter")
HEAVY = ("torch", "monai", "lightning", "SimpleITK", "highdicom", "matplotlib", "scipy", "pydicom", "numpy")


def isocenter(*words: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, words)], cwd=folder, capture_output=True, text=True, check=False)


def test_help_and_version(tmp_path: Path) -> None:
    done = isocenter("--help", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for verb in ("inspect", "simulate", "plan", "search", "fit", "evaluate", "predict", "demo"):
        assert f"\n  {verb} " in done.stdout
    done = isocenter("--version", folder=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"isocenter {__version__}\n")


@pytest.mark.parametrize("words", [["--help"], ["fit", "--help"], ["predict", "--help"]])
def test_help_loads_nothing_heavy(words: Sequence[str]) -> None:
    program = (
        "import sys; sys.argv = ['isocenter', *sys.argv[1:]]\n"
        "from isocenter.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print([m for m in {HEAVY!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_wrong_input_is_one_line_and_exit_code_2(tmp_path: Path) -> None:
    for words in (["fit", "nowhere"], ["predict", "model", "study"], ["inspect", "nowhere"]):
        done = isocenter(*words, folder=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("isocenter: ")
        assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_word_shows_the_usage(tmp_path: Path) -> None:
    for words in (["fitt", "x"], ["fit", "x", "--stepz", "3"], ["simulate", "thorax", "--cases", "none", "--out", "x"]):
        done = isocenter(*words, folder=tmp_path)
        assert done.returncode == 2
        assert "Traceback" not in done.stderr
        assert words[0] in done.stderr or words[2] in done.stderr


def test_a_case_that_is_left_out_is_said_on_stderr_once(nnunet: Run, sets: Sequence[str], tmp_path: Path) -> None:
    data = nnunet(4)
    (data / "imagesTr/c1_0000.nii.gz").write_bytes(b"\x1f\x8b broken")
    done = isocenter("fit", data, *sets, "--out", "m", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "case c1" in line]
    assert len(lines) == 1
    assert lines[0].startswith("WARNING: ")
    assert "Traceback" not in done.stderr
    assert json.loads((tmp_path / "m/training.json").read_text())["cases"]["left_out"] == 1


def test_ctrl_c_is_plain(nnunet: Run, sets: Sequence[str], tmp_path: Path) -> None:
    words = ["fit", nnunet(2), *sets, "--set", "training.steps=100000", "--out", "m"]
    process = subprocess.Popen([COMMAND, *words], cwd=tmp_path, stdout=-1, stderr=-1, text=True)
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "m.fit/tensorboard").exists() and time.monotonic() < end:
            time.sleep(0.2)
        time.sleep(0.5)
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out) == (130, "")
    said = r"isocenter: stopped after step (\d+) of 100000; step \1 is kept: go on from it with --resume"
    assert re.fullmatch(said, err.splitlines()[-1])
    assert "Traceback" not in err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["data", "m.fit"]
