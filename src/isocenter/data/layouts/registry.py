"""Layouts by name: how a folder on disk becomes a dataset, open to layouts from outside the package."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from isocenter.data.dataset import CaseDataset
from isocenter.errors import ConfigError, DatasetError, PlanError
from isocenter.plan.registry import Registry

__all__ = ["Layout", "find_layout", "layout_named", "layout_names", "register_layout"]

# a table says most (patients, several sets of labels), a bare tree of DICOM files least
_BUILT_IN = ("table", "msd", "nnunet", "dicom")
_REGISTRY: Registry[Any] = Registry("layout")
_log = logging.getLogger(__name__)

T = TypeVar("T")


class Layout(Protocol):
    """What a layout must be: a class with these two methods (static or not), or a module with these functions."""

    def detect(self, path: Path) -> bool:
        """Whether the folder or file looks like this layout; cheap, and never raises for foreign folders."""

    def read(self, path: Path) -> CaseDataset:
        """The cases, without reading voxels. What cannot be used goes into ``problems``.

        `Dataset.read` then compares geometries, and derives the schema where label maps have an empty one.
        """


def register_layout(name: str) -> Callable[[T], T]:
    """Decorator that makes a layout known under ``name``.

    A package can do the same with an entry point of the group ``isocenter.layouts``. Layouts from outside are asked
    before the built-in ones whether a folder is theirs.

    Example:
        >>> from isocenter.records import Case
        >>> @register_layout("photo-album")
        ... class PhotoAlbum:
        ...     @staticmethod
        ...     def detect(path):
        ...         return (path / "album.txt").is_file()
        ...
        ...     @staticmethod
        ...     def read(path):
        ...         names = (path / "album.txt").read_text().split()
        ...         return CaseDataset(path.name, tuple(Case(name, name, {}) for name in names))
        >>> "photo-album" in layout_names()
        True
    """
    return _REGISTRY.register(name)


def layout_names() -> tuple[str, ...]:
    """Names of all layouts in the order in which they are asked: those from outside, then the built-in ones."""
    outside = tuple(name for name in _REGISTRY.names() if name not in _BUILT_IN)
    return outside + _BUILT_IN


def layout_named(name: str) -> Layout:
    """The layout called ``name``.

    Raises:
        ConfigError: There is none; the message says which there are.
    """
    _load_built_in()
    try:
        found = _REGISTRY[name]
    except PlanError as error:
        raise ConfigError(str(error)) from None
    layout: Layout = found() if isinstance(found, type) else found
    return layout


def find_layout(path: Path) -> str:
    """Name of the first layout that says the folder is its own.

    Raises:
        DatasetError: None does.
    """
    for name in layout_names():
        try:
            layout = layout_named(name)
        except ConfigError as error:  # a plug-in that cannot be loaded must not hide the others
            _log.warning("layout '%s' cannot be loaded and is passed over: %s", name, error)
            continue
        if layout.detect(path):
            return name
    raise DatasetError(
        f"{path}: no layout fits; expected table.csv, dataset.json with imagesTr (nnU-Net, MSD), or DICOM files"
        f" (layouts: {', '.join(layout_names())})"
    )


def _load_built_in() -> None:
    from isocenter.data.layouts import dicom, msd, nnunet, table  # noqa: F401
