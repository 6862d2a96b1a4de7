"""Names of converted files: made from what the headers say, safe on every file system, each used once."""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from isocenter.errors import ConfigError, SeriesError

if TYPE_CHECKING:
    from isocenter.io.dicom import Series

__all__ = ["FileNames", "safe"]

_LONGEST = 80
_FIELDS = ("number", "modality", "description", "protocol", "patient", "study")
_FREE_TEXT = {"description", "protocol"}
# names that Windows keeps for devices, whatever follows the first dot
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def safe(text: str) -> str:
    """Letters, digits, ``-`` and ``_`` of a text, lower case; accents fall away, all else becomes ``_``.

    Example:
        >>> safe("T1 Sagittal/Schädel (c+)"), safe("../../etc"), safe("头部")
        ('t1_sagittal_schadel_c', 'etc', '')
    """
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return "_".join(re.findall(r"[a-z0-9-]*[a-z0-9][a-z0-9-]*", plain.lower())).strip("-")[:_LONGEST].rstrip("_-")


class FileNames:
    """Gives every image its name.

    Args:
        template: With ``{number}`` (of the series), ``{modality}``, ``{description}``, ``{protocol}``, ``{patient}`` (a
            pseudonym), ``{study}`` (``study1`` ...); ``/`` makes folders. By default the number and the description,
            in a folder for each patient and study where there are several.
        series: All that will be named.
        anonymous: Leave out what people typed, and number the patients.

    Raises:
        ConfigError: The template cannot be used.
    """

    def __init__(self, template: str | None, series: Sequence[Series], *, anonymous: bool = False) -> None:
        self._anonymous = anonymous
        self._patients: dict[str, str] = {}
        self._studies: dict[tuple[str, str], str] = {}
        self._given = {"convert"}  # convert.json tells of all of them
        for one in series:
            self._note(one)
        self._template = _checked(template, anonymous) if template else self._default()

    def _note(self, series: Series) -> None:
        from isocenter.workflow.dicomtree import pseudonym

        patient = series.patient
        number = len(self._patients) + 1
        self._patients.setdefault(patient, f"patient{number}" if self._anonymous else pseudonym(patient))
        of_patient = [key for key in self._studies if key[0] == patient]
        self._studies.setdefault((patient, series.study_uid), f"study{len(of_patient) + 1}")

    def _default(self) -> str:
        name = "{number}_{modality}" if self._anonymous else "{number}_{description}"
        if len(self._studies) > 1:
            return "{patient}/{study}/" + name
        return name

    def of(self, series: Series, label: str = "") -> str:
        """Relative path without suffix, not given before.

        Args:
            series: Where the image comes from.
            label: What tells it from the others of the series.
        """
        words = self._words(series)
        parts = [safe(part.format_map(words)) for part in self._template.split("/")]
        name = parts[-1] or safe(series.modality) or "image"
        parts[-1] = f"{name}_{safe(label)}" if safe(label) else name
        path = "/".join(f"_{part}" if _RESERVED.match(part) else part for part in parts if part)
        number, free = 1, path
        while free in self._given:  # all are lower case, so no file system takes two of them for one
            number += 1
            free = f"{path}_{number}"
        self._given.add(free)
        return free

    def _words(self, series: Series) -> Mapping[str, str]:
        header = series.headers[0]
        description = series.description or header.text("ProtocolName") or series.modality
        return {
            "number": _number(series),
            "modality": series.modality,
            "description": safe(description) or series.modality,
            "protocol": safe(header.text("ProtocolName")) or series.modality,
            "patient": self._patients[series.patient],
            "study": self._studies[series.patient, series.study_uid],
        }


def _number(series: Series) -> str:
    try:
        return str(series.headers[0].integer("SeriesNumber", 0))
    except SeriesError:
        return "0"


def _checked(template: str, anonymous: bool) -> str:
    try:
        named = [(name, spec or conversion) for _, name, spec, conversion in string.Formatter().parse(template)]
    except ValueError as error:
        raise ConfigError(f"--name {template!r}: {error}; write for example '{{number}}_{{protocol}}'") from None
    for name, extra in named:
        if name is not None and (name not in _FIELDS or extra):
            raise ConfigError(f"--name {template!r}: {{{name}}} is not known; there are {', '.join(_FIELDS)}")
        if anonymous and name in _FREE_TEXT:
            raise ConfigError(
                f"--name {template!r}: {{{name}}} is free text that may hold a person's name; leave it out, or"
                " --anonymous"
            )
    if not any(name for name, _ in named) or template.endswith("/"):
        raise ConfigError(f"--name {template!r}: names every file alike; write for example '{{number}}_{{protocol}}'")
    return template
