"""Pseudonyms: derived from the key, or given in a table."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from isocenter.errors import ConfigError

if TYPE_CHECKING:
    from isocenter.io.dicom.deidentify.keys import Secret

__all__ = ["Patients", "read_patients"]

_COLUMNS = ["patient", "pseudonym"]
_PSEUDONYM = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")


@dataclass(frozen=True)
class Patients:
    """Gives every patient a pseudonym.

    Attributes:
        secret: What pseudonyms are derived from.
        given: Pseudonym by Patient ID; ``None`` where all are derived.
    """

    secret: Secret
    given: dict[str, str] | None = None

    def pseudonym(self, patient: str) -> str | None:
        """Pseudonym of a Patient ID; ``None`` where a table was given that does not have it."""
        if self.given is None:
            return self.secret.patient(patient)
        return self.given.get(patient)


def read_patients(path: str | Path) -> dict[str, str]:
    r"""A CSV table with the columns ``patient`` (Patient ID) and ``pseudonym``.

    Messages name rows, never what stands in them.

    Raises:
        ConfigError: It cannot be read, has other columns, a patient twice, or a pseudonym that is not of letters,
            digits, ``-`` and ``_`` (32 at most), is a Patient ID, or is given to two patients.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "patients.csv"
        >>> _ = file.write_text("patient,pseudonym\n4711,A01\n")
        >>> read_patients(file)
        {'4711': 'A01'}
    """
    try:
        with Path(path).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            lines = list(reader)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path}: is no CSV table in UTF-8 ({type(error).__name__}); save it again") from error
    if not set(_COLUMNS) <= set(reader.fieldnames or ()):
        raise ConfigError(f"{path}: has not the columns {', '.join(_COLUMNS)}; name them in the first line")
    given: dict[str, str] = {}
    for number, line in enumerate(lines, start=2):
        patient, pseudonym = ((line[column] or "").strip() for column in _COLUMNS)
        if not patient or patient in given:
            raise ConfigError(f"{path}, line {number}: the patient is {'there twice' if patient else 'empty'}; mend it")
        if not _PSEUDONYM.fullmatch(pseudonym):
            raise ConfigError(
                f"{path}, line {number}: the pseudonym is not 1 to 32 letters, digits, '-' and '_'; give another one"
            )
        given[patient] = pseudonym
    _check_distinct(path, given)
    return given


def _check_distinct(path: str | Path, given: dict[str, str]) -> None:
    seen: set[str] = set()
    for number, pseudonym in enumerate(given.values(), start=2):
        if pseudonym.casefold() in seen:
            raise ConfigError(f"{path}, line {number}: the pseudonym is given to two patients; give another one")
        if pseudonym in given:
            raise ConfigError(f"{path}, line {number}: the pseudonym is the Patient ID of a patient; give another one")
        seen.add(pseudonym.casefold())
