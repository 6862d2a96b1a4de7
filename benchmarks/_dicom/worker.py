"""A reader in a process of its own: paths come in on standard input, answers go out, one line of JSON each.

Run as ``PYTHON worker.py READER``. Arrays go into a file that the question names. Whatever a library prints goes to
standard error, so that it cannot be taken for an answer.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _dicom.readers import READERS, Given, version_of


def answer(name: str, path: str, out: str) -> dict[str, object]:
    """Read ``path``, write arrays to ``out``, tell the rest."""
    given = Given()
    try:
        READERS[name][1](path, given)
    except Exception:
        given.crashed.append(traceback.format_exc(limit=-4)[-600:])
    arrays: dict[str, Any] = {}
    for kind, found in (("v", given.volumes), ("s", given.sheets), ("r", given.resampled)):
        for k, parts in enumerate(found):
            arrays |= {f"{kind}{k}_{p}": np.asarray(part) for p, part in enumerate(parts)}
    np.savez(out, **arrays)
    return {"refused": given.refused, "aside": given.aside, "crashed": given.crashed}


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    name = sys.argv[1]
    try:
        hello = {"version": version_of(name)}
    except ImportError as error:
        hello = {"missing": str(error)}
    print(json.dumps(hello), file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        print(json.dumps(answer(name, question["path"], question["out"])), file=answers, flush=True)


if __name__ == "__main__":
    main()
