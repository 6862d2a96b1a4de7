"""Readers asked one path after the other, each in a process that may crash or hang without ending the run."""

from __future__ import annotations

import json
import select
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from _dicom.scoring import Lattice, Sheets

__all__ = ["Answer", "Reader"]

WORKER = Path(__file__).with_name("worker.py")


@dataclass(frozen=True)
class Answer:
    """What a reader gave for one path; see `readers.Given`."""

    volumes: list[Lattice] = field(default_factory=list)
    sheets: list[Sheets] = field(default_factory=list)
    resampled: list[Lattice] = field(default_factory=list)
    refused: list[tuple[str, list[str], str]] = field(default_factory=list)
    aside: list[tuple[str, str]] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)


class Reader:
    """A worker that is started when it is needed, and again after a crash.

    Args:
        name: One of ``readers.READERS``.
        python: Interpreter that has it.
        limit_s: After so long a path counts as hung.
    """

    def __init__(self, name: str, python: Path, limit_s: float = 120.0) -> None:
        self.name, self._python, self._limit = name, python, limit_s
        self._process: subprocess.Popen[str] | None = None
        self.version, self.missing = "", ""
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [str(self._python), str(WORKER), self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        hello = self._hear(600.0)
        if isinstance(hello, str):
            hello = {"missing": hello}
        self.version, self.missing = hello.get("version", ""), hello.get("missing", "")

    def ask(self, path: Path) -> Answer:
        """What it gives for ``path``."""
        if self._process is None:
            self._start()
        if self._process is None or self._process.stdin is None:
            return Answer(crashed=[self.missing])
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "arrays.npz")
            self._process.stdin.write(json.dumps({"path": str(path), "out": str(out)}) + "\n")
            self._process.stdin.flush()
            told = self._hear(self._limit)
            if isinstance(told, str):
                return Answer(crashed=[told])
            with np.load(out) as arrays:
                found = {name: arrays[name] for name in arrays.files}
        return Answer(
            [Lattice(*parts) for parts in _parts(found, "v")],
            [Sheets(*parts) for parts in _parts(found, "s")],
            [Lattice(*parts) for parts in _parts(found, "r")],
            [(a, b, c) for a, b, c in told["refused"]],
            [(a, b) for a, b in told["aside"]],
            told["crashed"],
        )

    def _hear(self, limit_s: float) -> dict[str, Any] | str:
        """The next line; or in words why there is none, with the process gone."""
        process = self._process
        if process is None or process.stdout is None:
            return "not running"
        ready, _, _ = select.select([process.stdout], [], [], limit_s)
        line = process.stdout.readline() if ready else ""
        if line:
            found: dict[str, Any] = json.loads(line)
            return found
        self.close()
        return f"ended with {process.returncode}" if ready else f"hung for {limit_s:g} s"

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout):
                if stream is not None:
                    stream.close()
        self._process = None


def _parts(found: dict[str, NDArray[Any]], kind: str) -> list[list[NDArray[Any]]]:
    count = sum(name.startswith(kind) and name.endswith("_0") for name in found)
    return [[found[f"{kind}{k}_{p}"] for p in range(5) if f"{kind}{k}_{p}" in found] for k in range(count)]
