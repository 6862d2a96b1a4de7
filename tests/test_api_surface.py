"""The public names of `isocenter` and their signatures are frozen in api_surface.json.

After an intended change:  python tests/test_api_surface.py --update
"""

from __future__ import annotations

import difflib
import inspect
import json
import re
import sys
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

import isocenter

FROZEN = Path(__file__).with_name("api_surface.json")


def describe(item: Any) -> Any:
    """A function's signature; for a class its constructor or members, and its public methods and attributes."""
    if not isinstance(item, type):
        return signature(item) if callable(item) else type(item).__name__
    if issubclass(item, Enum):
        return {"enum": [member.name for member in item]}
    if issubclass(item, BaseException):
        return {"error": [base.__name__ for base in item.__mro__[1:] if base.__module__.startswith("isocenter")]}
    members = {name: describe_member(value) for name, value in public_members(item).items()}
    return {"class": constructor(item), "members": dict(sorted(members.items()))}


def public_members(cls: type) -> dict[str, Any]:
    """Members that the package itself defines, inherited ones included."""
    own = [base for base in reversed(cls.__mro__) if base.__module__.startswith("isocenter")]
    return {name: value for base in own for name, value in vars(base).items() if not name.startswith("_")}


def describe_member(value: Any) -> str:
    if isinstance(value, staticmethod | classmethod):
        return f"{type(value).__name__} {signature(value.__func__)}"
    return signature(value) if inspect.isfunction(value) else "attribute"


def constructor(cls: type) -> Any:
    """Fields of a pydantic model, else the constructor's signature."""
    fields = getattr(cls, "model_fields", None)
    if fields is None:
        return signature(cls)
    return {name: "required" if field.is_required() else "optional" for name, field in fields.items()}


def signature(item: Any) -> str:
    """As written in the source, without addresses, which differ from run to run."""
    try:
        return re.sub(r" at 0x[0-9a-f]+", "", str(inspect.signature(item)))
    except ValueError:  # a protocol or a class of C code
        return "(...)"


def surface() -> dict[str, Any]:
    """Every public name, described from where it is defined."""
    items = {name: getattr(import_module(room), name) for name, room in isocenter._EXPORTS.items()}
    return {name: describe(items[name]) for name in sorted(items)}


def as_text(data: dict[str, Any]) -> str:
    return json.dumps(data, indent=2, ensure_ascii=False) + "\n"


def test_public_names_are_as_frozen() -> None:
    frozen, now = FROZEN.read_text(encoding="utf-8").splitlines(), as_text(surface()).splitlines()
    change = "\n".join(difflib.unified_diff(frozen, now, "frozen", "now", lineterm="", n=2))
    assert not change, (
        f"the public names changed:\n{change}\n"
        "If that is intended, run `python tests/test_api_surface.py --update`, and say so in CHANGELOG.md."
    )


def test_a_changed_signature_is_noticed() -> None:
    class Before:
        def crop(self, start: int) -> None: ...

    class After:
        def crop(self, start: int, *, fill: float = 0) -> None: ...

    Before.__module__ = After.__module__ = "isocenter.volume"
    assert describe(Before)["members"] == {"crop": "(self, start: 'int') -> 'None'"}
    assert describe(Before) != describe(After)


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        raise SystemExit(__doc__)
    FROZEN.write_text(as_text(surface()), encoding="utf-8")
