"""Which cases train, which choose, which judge: named parts of a dataset that share no patient."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isocenter.errors import SplitError

if TYPE_CHECKING:
    from isocenter.data.dataset import Dataset

__all__ = ["UNLABELLED", "Splits", "read_folds", "write_folds"]

UNLABELLED = "unlabelled"
"""Name of the part whose cases have images only. It may share patients with ``train``, with no other part."""

_log = logging.getLogger(__name__)


class Splits(Mapping[str, tuple[str, ...]]):
    """Names of parts and the cases of each.

    ``train``, ``val`` and ``test`` have their usual meaning; other names are free. On disk it is a JSON object of
    lists: ``splits.json`` in the dataset's folder. An entry is the id of a case, or the pseudonym of a patient for all
    of that patient's cases. Without ``train``, every case that no other part names belongs to it.

    Args:
        parts: Name to case ids (or patients, until `resolve`).

    Raises:
        SplitError: ``train`` is there and empty, or one entry is in two parts.

    Example:
        >>> splits = Splits({"train": ["a", "b"], "val": ["c"]})
        >>> splits["val"], list(splits)
        (('c',), ['train', 'val'])
    """

    def __init__(self, parts: Mapping[str, Any]) -> None:
        self._parts = {str(name): tuple(str(i) for i in ids) for name, ids in parts.items()}
        if "train" in self._parts and not self._parts["train"]:
            raise SplitError("split 'train' is empty; name its cases, or leave 'train' out to take all that remain")
        owner: dict[str, str] = {}
        for name, ids in self._parts.items():
            for entry in ids:
                if owner.setdefault(entry, name) != name:
                    raise SplitError(f"{entry} is in two splits, '{owner[entry]}' and '{name}'; keep it in one")

    def __getitem__(self, name: str) -> tuple[str, ...]:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return f"Splits({', '.join(f'{name}: {len(ids)}' for name, ids in self.items())})"

    def resolve(self, dataset: Dataset) -> Splits:
        """The same with every entry a case of ``dataset``, each id once, in the dataset's order; empty parts left out.

        Cases that ``dataset.problems`` names are left out with a warning.

        Raises:
            SplitError: An entry is neither case nor patient, a patient is in two parts, or ``train`` ends up empty.
        """
        patients = {case.id: case.patient for case in dataset}
        unusable = {p.case for p in dataset.problems if not p.kept}
        chosen = {name: _expand(name, ids, patients, unusable) for name, ids in self.items()}
        if "train" not in chosen:
            named = {i for ids in chosen.values() for i in ids}
            chosen = {"train": set(patients) - named, **chosen}
        if not chosen["train"]:
            raise SplitError(f"dataset {dataset.name}: no usable case is left in split 'train'")
        _refuse_shared_patients(chosen, patients)
        return Splits({name: [i for i in dataset.ids if i in ids] for name, ids in chosen.items() if ids})

    @staticmethod
    def read(path: str | Path) -> Splits:
        """Splits from a JSON file.

        Raises:
            SplitError: The file is missing, is not JSON, or is not an object of lists of names.
        """
        found = _load(Path(path))
        if isinstance(found, list):
            raise SplitError(f"{path}: a list of {len(found)} folds; choose one of read_folds(path)")
        return _from_json(found, str(path))

    def write(self, path: str | Path) -> None:
        """Write as JSON, aside first and then renamed."""
        from isocenter.io.files import write_json

        write_json(Path(path), {name: list(ids) for name, ids in self.items()})


def read_folds(path: str | Path) -> list[Splits]:
    """Folds of a cross-validation: a JSON list of objects, as ``splits_final.json`` of nnU-Net.

    Raises:
        SplitError: The file is missing or is not such a list.
    """
    found = _load(Path(path))
    if not isinstance(found, list) or not found:
        raise SplitError(f"{path}: not a list of folds; one object of parts is read by Splits.read")
    return [_from_json(item, f"{path}, fold {i}") for i, item in enumerate(found)]


def write_folds(path: str | Path, folds: list[Splits]) -> None:
    """Write folds as a JSON list, aside first and then renamed."""
    from isocenter.io.files import write_json

    write_json(Path(path), [{name: list(ids) for name, ids in fold.items()} for fold in folds])


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SplitError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise SplitError(f"{path}: not JSON ({error})") from error


def _from_json(found: Any, where: str) -> Splits:
    is_lists = isinstance(found, dict) and all(isinstance(ids, list) for ids in found.values())
    if not is_lists or not found or not all(isinstance(i, str) for ids in found.values() for i in ids):
        raise SplitError(f'{where}: expected {{"train": [case, ...], "val": [...], ...}}')
    try:
        return Splits(found)
    except SplitError as error:
        raise SplitError(f"{where}: {error}") from None


def _expand(name: str, entries: tuple[str, ...], patients: Mapping[str, str], unusable: set[str]) -> set[str]:
    cases: dict[str, list[str]] = {}
    for case, patient in patients.items():
        cases.setdefault(patient, []).append(case)
    out: set[str] = set()
    for entry in entries:
        if entry in patients:
            out.add(entry)
        elif entry in cases:
            out.update(cases[entry])
        elif entry in unusable:
            _log.warning("split '%s': case %s cannot be used and is left out", name, entry)
        else:
            raise SplitError(f"split '{name}' names {entry}, which is neither a case nor a patient of the dataset")
    return out


def _refuse_shared_patients(chosen: Mapping[str, set[str]], patients: Mapping[str, str]) -> None:
    owner: dict[str, str] = {}
    for name, ids in chosen.items():
        for case in sorted(ids):
            first = owner.setdefault(patients[case], name)
            if first != name and {first, name} != {"train", UNLABELLED}:
                raise SplitError(
                    f"patient {patients[case]} is in two splits, '{first}' and '{name}';"
                    " all cases of a patient belong in one"
                )
