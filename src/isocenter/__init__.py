"""Isocenter: deep learning for medical images, from the scanner's files to a result that can be checked.

This is the public face: a flat list of names, each loaded from its room when it is first used, so that importing the
package costs next to nothing.

Example:
    >>> import isocenter as iso
    >>> grid = iso.Grid.regular((2, 3, 4), spacing_mm=(5.0, 1.0, 1.0))
    >>> grid.to_world([1, 0, 0]).tolist()
    [0.0, 0.0, 5.0]
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inspect import Signature

    from isocenter.data import Dataset as Dataset
    from isocenter.networks import check_network as check_network
    from isocenter.pipeline import Model as Model
    from isocenter.plan import Plan as Plan
    from isocenter.records import Case as Case
    from isocenter.records import Finding as Finding
    from isocenter.records import IsocenterError as IsocenterError
    from isocenter.records import LabelSchema as LabelSchema
    from isocenter.records import Prediction as Prediction
    from isocenter.records import Structure as Structure
    from isocenter.volume import Grid as Grid
    from isocenter.volume import Volume as Volume
    from isocenter.workflow import Result as Result
    from isocenter.workflow import convert as convert
    from isocenter.workflow import deidentify as deidentify
    from isocenter.workflow import demo as demo
    from isocenter.workflow import evaluate as evaluate
    from isocenter.workflow import fit as fit
    from isocenter.workflow import inspect as inspect
    from isocenter.workflow import load as load
    from isocenter.workflow import plan as plan
    from isocenter.workflow import predict as predict
    from isocenter.workflow import search as search
    from isocenter.workflow import simulate as simulate

__version__ = "0.1.0"

# Public name -> the room that holds it. A new name goes here and into the block above; a test compares the two.
_EXPORTS = {
    "Case": "isocenter.records",
    "Dataset": "isocenter.data",
    "Finding": "isocenter.records",
    "Grid": "isocenter.volume",
    "IsocenterError": "isocenter.records",
    "LabelSchema": "isocenter.records",
    "Model": "isocenter.pipeline",
    "Plan": "isocenter.plan",
    "Prediction": "isocenter.records",
    "Result": "isocenter.workflow",
    "Structure": "isocenter.records",
    "Volume": "isocenter.volume",
    "check_network": "isocenter.networks",
    "convert": "isocenter.workflow",
    "deidentify": "isocenter.workflow",
    "demo": "isocenter.workflow",
    "evaluate": "isocenter.workflow",
    "fit": "isocenter.workflow",
    "inspect": "isocenter.workflow",
    "load": "isocenter.workflow",
    "plan": "isocenter.workflow",
    "predict": "isocenter.workflow",
    "search": "isocenter.workflow",
    "simulate": "isocenter.workflow",
}

__all__ = ["__version__", *_EXPORTS]


def __getattr__(name: str) -> Any:
    room = _EXPORTS.get(name)
    if room is None:
        raise AttributeError(f"module 'isocenter' has no attribute {name!r}")
    value = getattr(import_module(room), name)
    return globals().setdefault(name, value)  # the import may have bound a room of that name: see _Face


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS})


class _Room(ModuleType):
    """A room whose name is a verb as well: `isocenter.plan(...)` is the verb, `isocenter.plan.Plan` is in the room."""

    @property
    def _verb(self) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(import_module(_EXPORTS[name]), name)

    @property
    def __signature__(self) -> Signature:
        from inspect import signature

        return signature(self._verb)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._verb(*args, **kwargs)


class _Face(ModuleType):
    """Keeps a verb callable when the import system binds the room of the same name over it."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _EXPORTS and type(value) is ModuleType:
            value.__class__ = _Room
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Face
