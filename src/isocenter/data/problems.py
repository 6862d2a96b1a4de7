"""A case that could not be used is named, with the reason, and counted."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["CaseProblem"]


@dataclass(frozen=True)
class CaseProblem:
    """Why a case, or a part of it, could not be used.

    Attributes:
        case: Its id.
        text: What is wrong, in one line, with the value found.
        kind: Name of the error class, e.g. ``"GeometryError"``.
        kept: The case is still used, without the part that the text names.

    Example:
        >>> str(CaseProblem("a", "no label"))
        'case a: no label'
    """

    case: str
    text: str
    kind: str = "DatasetError"
    kept: bool = False

    @staticmethod
    def of(case: str, error: Exception) -> CaseProblem:
        """The problem that an error describes."""
        return CaseProblem(case, str(error), type(error).__name__)

    def __str__(self) -> str:
        return self.text if self.text.startswith(f"case {self.case}:") else f"case {self.case}: {self.text}"
