"""Reading DICOM: Isocenter and six other readers on the same input, against what each image's own header states.

Every input stands on a list of those that must be read or of those that must be refused, with its reason, in
``_dicom/inputs.py``. 300 pixels of every slice or frame are looked up in what the reader gave: right is a voxel within
0.01 mm of the stated place with the stated value. Readers run in processes of their own; peers in the interpreter that
``--peer-python`` names, where they are installed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from _dicom.entry import Input
from _dicom.inputs import INPUTS, locate
from _dicom.judging import Verdict, interpolation_errors, judge, judge_ours
from _dicom.mutations import base_series, make
from _dicom.readers import READERS
from _dicom.running import Reader
from _dicom.truth import Frame, frames_of
from common import data_folder, row, write_result

MUTATED = "lung_ct_gtv_ibsi_phantom/dicom/image"
Row = dict[str, Any]


def truth(one: Input, path: Path) -> list[Frame]:
    """What headers state; of a DICOMDIR what the files of its disc state; nothing where nothing may be read."""
    if path.name.startswith("DICOMDIR"):
        return frames_of(path.parent, one.aside)
    return frames_of(path, one.aside) if one.read or one.states_places else []


def run(reader: Reader, inputs: Sequence[tuple[Input, Path]]) -> tuple[dict[str, Verdict], list[Row]]:
    """Verdict on every input that the reader can be scored on, and rows on what was resampled."""
    found, resampled = {}, []
    ours = reader.name == "isocenter"
    for one, path in inputs:
        if not (ours or one.states_places):
            continue
        frames = truth(one, path)
        if not ours and (not frames or frames[0].position is None):
            continue
        answer = reader.ask(path)
        verdict = judge_ours(one, frames, answer) if ours else judge(one, frames, answer)
        found[one.name] = verdict
        if ours and not verdict.good:
            print(f"NOT AS WRITTEN DOWN: {one.name} ({one.where}): {verdict}")
        errors = interpolation_errors(frames, answer) if answer.resampled else None
        if errors is not None:
            resampled.append(row(f"{one.name}: resampled, from linear interpolation", errors[0], "RMS, units of values",
                                 spread=(0.0, errors[1])))  # fmt: skip
    return found, resampled


def summary(name: str, inputs: Sequence[Input], found: dict[str, Verdict]) -> list[Row]:
    """Rows of one reader."""
    ours = name == "isocenter"
    rows = []
    for read, word in ((True, "must read"), (False, "must refuse")):
        verdicts = [found[one.name] for one in inputs if one.read == read and one.name in found]
        if not verdicts:
            continue
        count = len(verdicts)
        if ours:
            done = float(sum(v.good for v in verdicts))
            what = "right in >= 99.9 % of samples" if read else "refused with the error written down"
            rows.append(row(f"{name}, {word}: {what}", done, f"of {count}", least=count))
        elif read:
            rows.append(
                row(f"{name}, {word}: right", float(sum(v.outcome == "right" for v in verdicts)), f"of {count}")
            )
            refused = sum(v.outcome in ("refused", "crashed", "in part") for v in verdicts)
            rows.append(row(f"{name}, {word}: refused, wholly or in part", float(refused), f"of {count}"))
        if read:
            share = 100 * sum(v.right for v in verdicts) / count
            rows.append(row(f"{name}, {word}: samples right, mean of inputs", share, "%"))
        silent = float(sum(v.outcome == "silently wrong" for v in verdicts))
        rows.append(row(f"{name}, {word}: silently wrong", silent, f"of {count}", most=0 if ours else None))
    return rows


def shown(verdict: Verdict | None) -> str:
    """Cell of the table."""
    if verdict is None:
        return ""
    if verdict.outcome in ("refused", "crashed"):
        return verdict.outcome
    share = f"{100 * verdict.right:.4g}"
    return share if verdict.outcome == "right" else f"{share} {verdict.outcome}"


def table(inputs: Sequence[Input], readers: dict[str, dict[str, Verdict]]) -> dict[str, Any]:
    """Share of right samples in percent, an input a line, a reader a column; only inputs that all can be scored on."""
    peers = [name for name in readers if name != "isocenter"]
    lines = [
        [one.name, "read" if one.read else "refuse", *(shown(found.get(one.name)) for found in readers.values())]
        for one in inputs
        if not peers or any(one.name in readers[p] for p in peers)
    ]
    return {"title": "Right samples, %", "columns": ["input", "must", *readers], "lines": lines}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--peer-python", type=Path, help="interpreter that has the other readers")
    parser.add_argument("--readers", nargs="*", default=list(READERS), help="names of those to run")
    parser.add_argument("--only", default="", help="inputs whose name or path holds this; nothing is written")
    args = parser.parse_args()
    data = data_folder()
    base = data / MUTATED if (data / MUTATED).is_dir() else None
    with tempfile.TemporaryDirectory() as folder:
        series = base_series(base)
        for one in INPUTS:
            if one.where.startswith("made:"):
                make(one.where.partition(":")[2], series, Path(folder))
        placed = [(one, path) for one in INPUTS if (path := locate(one, data, Path(folder))) is not None]
        placed = [(one, path) for one, path in placed if args.only in one.name or args.only in one.where]
        absent = [one for one in INPUTS if locate(one, data, Path(folder)) is None]
        verdicts, rows, said = {}, [], []
        for name in args.readers:
            python = Path(sys.executable) if name == "isocenter" else args.peer_python or Path(sys.executable)
            reader = Reader(name, python)
            if reader.missing:
                said.append(f"{name} is left out ({reader.missing})")
                continue
            said.append(f"{name} {reader.version}" if name != "isocenter" else "")
            verdicts[name], resampled = run(reader, placed)
            reader.close()
            rows += summary(name, [one for one, _ in placed], verdicts[name]) + resampled
    for one_row in rows:
        print(f"{one_row['name']:75s} {one_row['value']:10.4g} {one_row['unit']} {one_row.get('target', '')}")
    if not args.only:
        inputs = [one for one, _ in placed]
        write_result(
            "dicom_reading",
            title="Reading DICOM",
            about=about(inputs, absent, base is not None, [s for s in said if s]),
            rows=rows,
            tables=[table(inputs, verdicts)],
        )


def about(inputs: Sequence[Input], absent: Sequence[Input], real: bool, said: Sequence[str]) -> str:
    """What was compared."""
    left = f" {len(absent)} inputs were not at hand." if absent else ""
    return (
        f"{len(inputs)} inputs: mutations of a {'real' if real else 'synthetic'} CT, synthetic series, real data and"
        " pydicom's test files, each on a list of those that must be read or refused"
        " ([why](concepts/reading-matrix.md))."
        f"{left} Right is a sample whose stated value stands within 0.01 mm of its stated place; 300 samples a slice or"
        " frame. Silently wrong: less than 99.9 % right, and no error. Peers were asked only where headers state"
        f" places. {'; '.join(said)}."
    )


if __name__ == "__main__":
    main()
