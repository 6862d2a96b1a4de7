"""Named plug-ins: networks, tasks and strategies that a plan can ask for."""

from __future__ import annotations

import difflib
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Generic, TypeVar

from isocenter.errors import PlanError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Registry"]

T = TypeVar("T")


class Registry(Generic[T]):
    """Names and what they stand for.

    A plug-in outside the package registers itself with the decorator, or by an entry point of the group
    ``isocenter.<kinds>`` (``isocenter.networks``, ``isocenter.strategies``) whose name is the plug-in's, so that a
    model that needs it loads without an import by hand.

    Args:
        kind: What is registered, in the singular: ``"network"``.
        home: Module whose import registers the built-in ones; imported when a name is first looked up.

    Example:
        >>> shapes: Registry[type] = Registry("shape")
        >>> @shapes.register("ball")
        ... class Ball: ...
        >>> shapes["ball"].__name__
        'Ball'
    """

    def __init__(self, kind: str, home: str | None = None) -> None:
        self.kind = kind
        self.group = f"isocenter.{_plural(kind)}"
        self.home = home
        self._items: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator that enters a plug-in under ``name``.

        Raises:
            PlanError: The name is taken by something else.
        """

        def enter(item: T) -> T:
            taken = self._items.get(name)
            if taken is not None and _origin(taken) != _origin(item):
                raise PlanError(f"{self.kind} {name!r} is already registered by {_origin(taken)}; choose another name")
            self._items[name] = item
            return item

        return enter

    def names(self) -> tuple[str, ...]:
        """Registered names, those of installed plug-ins included."""
        self._come_home()
        points = {p.name for p in entry_points(group=self.group)}
        return tuple(sorted(points | set(self._items)))

    def __contains__(self, name: str) -> bool:
        return name in self.names()

    def __getitem__(self, name: str) -> T:
        self._come_home()
        if name not in self._items:
            for point in entry_points(group=self.group, name=name):
                try:
                    self._items.setdefault(name, point.load())
                except (ImportError, AttributeError) as error:
                    raise PlanError(
                        f"{self.kind} {name!r}: its plug-in {point.value} cannot be loaded ({error}); install it anew"
                    ) from error
        if name not in self._items:
            near = difflib.get_close_matches(name, self.names(), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            known = ", ".join(self.names())
            raise PlanError(f"no {self.kind} {name!r}{hint}; there are: {known}; --plugin imports others")
        return self._items[name]

    def _come_home(self) -> None:
        # forgotten only after the import, so that other threads wait for it and a failed one is tried again
        if self.home is not None:
            import_module(self.home)
            self.home = None


def _plural(noun: str) -> str:
    if noun.endswith("y"):
        return noun.removesuffix("y") + "ies"
    return noun + ("es" if noun.endswith("s") else "s")


def _origin(item: object) -> str:
    return f"{getattr(item, '__module__', '?')}.{getattr(item, '__qualname__', repr(item))}"
