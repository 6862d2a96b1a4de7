"""Plans as YAML, and changes to them by dotted key."""

from __future__ import annotations

import difflib
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import BaseModel, ValidationError

from isocenter.errors import PlanError
from isocenter.plan.schema import SCHEMA_VERSION, Plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["dump_plan", "parse_plan", "read_plan", "set_values", "write_plan"]


# every kind of part once, for the names of its keys
_EXAMPLE = Plan.model_validate(
    {
        "inputs": [{"name": "x"}],
        "preprocess": {"reference": "x", "intensity": {"x": {}}},
        "task": {"structures": [{"name": "y", "values": [1]}]},
    }
)


def read_plan(path: str | os.PathLike[str]) -> Plan:
    """Plan from a YAML file.

    Raises:
        PlanError: No such file, not YAML, an unknown key (the nearest one is named) or a wrong value.
    """
    file = Path(path)
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise PlanError(f"plan {file}: cannot be read ({error.strerror}); `isocenter plan` writes one") from None
    except UnicodeDecodeError:
        raise PlanError(f"plan {file}: is not text; `isocenter plan` writes one") from None
    return parse_plan(text, where=str(file))


def parse_plan(text: str, *, where: str = "plan") -> Plan:
    """Plan from YAML text; ``where`` names it in errors.

    Raises:
        PlanError: See `read_plan`.

    Example:
        >>> parse_plan("{inputs: [{name: ct}], preprocess: {reference: ct}, training: {steps: 50}}").training.steps
        50
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PlanError(f"{where}: not valid YAML ({str(error).splitlines()[0]})") from None
    if not isinstance(data, dict):
        raise PlanError(f"{where}: is not a mapping of keys; `isocenter plan` writes a whole one")
    return _validate(data, where)


def dump_plan(plan: Plan) -> str:
    """YAML text of a plan; `parse_plan` gives the same plan back.

    Example:
        >>> from isocenter.plan import InputSpec, PreprocessSpec
        >>> plan = Plan(name="demo", inputs=(InputSpec(name="ct"),), preprocess=PreprocessSpec(reference="ct"))
        >>> dump_plan(plan).splitlines()[:2]
        ['schema_version: 1', 'name: demo']
    """
    text: str = yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=120)
    return text


def write_plan(plan: Plan, path: str | os.PathLike[str]) -> None:
    """Write a plan as YAML, aside first and then renamed."""
    file = Path(path)
    aside = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(dump_plan(plan), encoding="utf-8")
        aside.replace(file)
    except OSError as error:
        with suppress(OSError):
            aside.unlink()
        raise PlanError(f"plan {file}: cannot be written ({error.strerror})") from None


def set_values(plan: Plan, assignments: Iterable[str] | Mapping[str, Any]) -> Plan:
    """Plan with values changed by dotted key; the reason of a changed key says that a person set it.

    Args:
        plan: Plan to start from.
        assignments: ``"training.steps=500"`` texts (values as YAML), or a mapping of key to value.

    Raises:
        PlanError: A text without ``=``, an unknown key, or a value that does not fit.

    Example:
        >>> from isocenter.plan import InputSpec, Plan, PreprocessSpec
        >>> plan = Plan(inputs=(InputSpec(name="ct"),), preprocess=PreprocessSpec(reference="ct"))
        >>> set_values(plan, ["training.steps=20"]).training.steps
        20
    """
    pairs = assignments.items() if hasattr(assignments, "items") else [_split(text) for text in assignments]
    data = plan.model_dump(mode="json")
    changed = []
    for key, value in pairs:
        _assign(data, plan, key, value)
        changed.append(key)
    if isinstance(data["reasons"], dict):
        data["reasons"] |= {key: "set by hand" for key in changed if key.split(".")[0] != "reasons"}
    return _validate(data, "plan")


def _split(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise PlanError(f"--set {text}: expected KEY=VALUE, as training.steps=500")
    try:
        return key.strip(), yaml.safe_load(value)
    except yaml.YAMLError:
        raise PlanError(f"--set {text}: the value is not valid YAML") from None


def _assign(data: dict[str, Any], plan: Plan, key: str, value: Any) -> None:
    *parents, last = key.split(".")
    here: Any = data
    for depth, part in enumerate(parents):
        if not isinstance(here, dict) or part not in here:
            raise _unknown(".".join(key.split(".")[: depth + 1]), _keys(plan), "plan")
        here = here[part]
    free = parents[-1:] == ["options"] or parents[:1] == ["reasons"]
    if not isinstance(here, dict) or (last not in here and not free):
        raise _unknown(key, _keys(plan), "plan")
    here[last] = value


def _keys(model: BaseModel, prefix: str = "") -> list[str]:
    keys = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        keys.append(prefix + name)
        inner = {"": value} if isinstance(value, BaseModel) else value if isinstance(value, dict) else {}
        if isinstance(value, tuple):
            inner = {str(k): item for k, item in enumerate(value)}
        for key, item in inner.items():
            if isinstance(item, BaseModel):
                keys += _keys(item, f"{prefix}{name}.{key}." if key else f"{prefix}{name}.")
    return keys


def _unknown(key: str, known: list[str], where: str) -> PlanError:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5) or difflib.get_close_matches(
        key.rsplit(".", 1)[-1], [k.rsplit(".", 1)[-1] for k in known], n=1
    )
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return PlanError(f"{where}: unknown key {key!r}{hint}")


def _validate(data: dict[str, Any], where: str) -> Plan:
    version = data.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise PlanError(
            f"{where}: schema_version {version!r} is not known to this version, which reads {SCHEMA_VERSION}"
        )
    try:
        return Plan.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise _unknown(key, _keys(_EXAMPLE), where) from None
        message = first["msg"].removeprefix("Value error, ")
        found = "" if first["type"] in ("value_error", "missing") else f" (found {first['input']!r})"
        raise PlanError(f"{where}: {key + ': ' if key else ''}{message}{found}") from None
