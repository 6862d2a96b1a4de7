"""`check_network`: does a network keep the contract?

One door for every network, built in or not: an author calls it in the tests of a plug-in. What a network need not serve
it may refuse with a `PlanError` when it is built; whatever it serves has to be right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from isocenter.errors import ContractError, PlanError
from isocenter.networks import checks
from isocenter.networks.checks import Subject
from isocenter.networks.contract import HeadSpec, build_network, small_options
from isocenter.plan import InputSpec, NetworkSpec

__all__ = ["Check", "NetworkReport", "check_network"]

HEADS: Mapping[str, HeadSpec] = {
    "voxels": HeadSpec("dense", 3, levels=3),
    "cells": HeadSpec("strided", 2, stride=4),
    "answer": HeadSpec("global", 4),
}
Outcome = Literal["passed", "not served", "skipped"]


@dataclass(frozen=True)
class Check:
    """One line of a report.

    Attributes:
        name: What was looked at.
        setting: Dimensions and heads.
        outcome: ``"passed"``, ``"not served"`` (the network refuses it), ``"skipped"`` (it could not be looked at).
        note: Why, where it did not pass.
    """

    name: str
    setting: str
    outcome: Outcome
    note: str = ""


@dataclass(frozen=True)
class NetworkReport:
    """What `check_network` looked at; none of it failed."""

    network: str
    checks: tuple[Check, ...] = field(default_factory=tuple)

    def count(self, outcome: Outcome) -> int:
        """Lines of an outcome."""
        return sum(check.outcome == outcome for check in self.checks)

    def __str__(self) -> str:
        head = f"{self.network}: {self.count('passed')} checks passed"
        others = [c for c in self.checks if c.outcome != "passed"]
        return "\n".join([head, *(f"  {c.outcome}: {c.name}, {c.setting}: {c.note}" for c in others)])


def check_network(
    name: str,
    *,
    options: Mapping[str, Any] | None = None,
    dimensions: Sequence[Literal[2, 3]] = (2, 3),
    exports: Sequence[Literal["openvino", "onnx"]] = ("openvino", "onnx"),
) -> NetworkReport:
    """Check that a registered network keeps `isocenter.networks.contract`.

    Looked at, in two and three dimensions and for every kind of head: names and sizes of outputs for odd, even and
    one-voxel sizes; coarser levels in training alone; one to four images, one of them missing; a vector beside them;
    gradients to every parameter; independence of the samples of a batch; repeatable evaluation that draws no random
    numbers; equal weights from equal seeds; weights through safetensors; averaged weights; half precision; inputs left
    as they were; no growth of memory; export to OpenVINO and ONNX within 1e-3 of torch in 32 bit.

    Args:
        name: Registered name.
        options: Of a small instance; those the author named with ``@network(name, small=...)`` where ``None``.
        dimensions: To look at.
        exports: To look at; skipped, and reported so, where the extra ``export`` is not installed.

    Returns:
        What was looked at, what the network does not serve, what was skipped.

    Raises:
        ContractError: The first thing that is not right: what, in which setting, what was expected and what came.
        PlanError: No such network.

    Example:
        >>> report = check_network("light", dimensions=[2], exports=[])
        >>> report.count("passed") > 20, report.count("not served")
        (True, 0)
    """
    given = dict(small_options(name) if options is None else options)
    found: list[Check] = []
    for d in dimensions:
        subject = Subject(name, d, lambda heads, inputs, d=d: _build(name, d, given, heads, inputs))  # type: ignore[misc]
        served = dict(_served(subject, found))
        if served:
            _look(subject, served, found)
            _export(subject, served, exports, found)
        else:
            _look_at_numbers(replace(subject, inputs=checks.NUMBERS), found)
    if not any(c.outcome == "passed" for c in found):
        raise ContractError(f"network {name!r} serves no head: {'; '.join(sorted({c.note for c in found}))}")
    return NetworkReport(name, tuple(found))


def _build(
    name: str, dimensions: Literal[2, 3], options: Mapping[str, Any], heads: Mapping[str, HeadSpec],
    inputs: Sequence[InputSpec],
) -> nn.Module:  # fmt: skip
    torch.manual_seed(0)
    network: nn.Module = build_network(
        NetworkSpec(name=name, dimensions=dimensions, options=dict(options)), inputs, heads
    )
    return network


def _served(subject: Subject, found: list[Check]) -> Iterator[tuple[str, HeadSpec]]:
    for name, head in HEADS.items():
        try:
            subject.build({name: head}, checks.ONE)
        except PlanError as error:
            found.append(Check("heads", f"{subject.dimensions}-D, {head.kind}", "not served", str(error)))
        else:
            yield name, head


def _look(subject: Subject, served: Mapping[str, HeadSpec], found: list[Check]) -> None:
    for name, head in served.items():
        setting = f"{subject.dimensions}-D, {head.kind}"
        for check in checks.FOR_EACH_HEAD:
            check(subject, {name: head}, setting)
            found.append(Check(_title(check), setting, "passed"))
    setting = _setting(subject, served)
    for check in checks.FOR_ALL_HEADS:
        check(subject, served, setting)
        found.append(Check(_title(check), setting, "passed"))
    setting = f"{subject.dimensions}-D, global"
    if "answer" in served:
        try:
            checks.vectors(subject, {"answer": served["answer"]}, setting)
        except PlanError as error:
            found.append(Check("vectors", setting, "not served", str(error)))
        else:
            found.append(Check("vectors", setting, "passed"))


def _look_at_numbers(subject: Subject, found: list[Check]) -> None:
    """A network that reads no images may answer from numbers of the case."""
    heads, setting = {"answer": HEADS["answer"]}, f"{subject.dimensions}-D, global, of numbers"
    try:
        subject.build(heads, subject.inputs)
    except PlanError as error:
        found.append(Check("heads", setting, "not served", str(error)))
        return
    for check in checks.FOR_NUMBERS:
        check(subject, heads, setting)
        found.append(Check(_title(check), setting, "passed"))


def _setting(subject: Subject, served: Mapping[str, HeadSpec]) -> str:
    return f"{subject.dimensions}-D, {' and '.join(h.kind for h in served.values())}"


def _title(check: Callable[..., None]) -> str:
    return check.__name__.replace("_", " ")


def _export(subject: Subject, served: Mapping[str, HeadSpec], exports: Sequence[str], found: list[Check]) -> None:
    from isocenter.networks import checks_export

    setting = _setting(subject, served)
    for form in exports:
        missing = checks_export.missing(form)
        if missing:
            found.append(Check(f"export to {form}", setting, "skipped", missing))
            continue
        checks_export.agrees(subject, served, form, setting)
        found.append(Check(f"export to {form}", setting, "passed"))
