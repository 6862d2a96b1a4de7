"""What a search may choose between: values by key of the plan, and two keys that rules translate, width and depth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from isocenter.errors import ConfigError
from isocenter.plan.part import Part

__all__ = ["Choice", "SearchSpace"]

Choice = Mapping[str, Any]
"""One value of each key."""

FROZEN = ("training.steps", "training.validations")
"""What the search itself sets in every trial."""


class SearchSpace(Part):
    """Values that are tried, by key.

    Attributes:
        choices: By dotted key of the plan (``network.name``, ``network.dimensions``, ``training.learning_rate``,
            ``network.options.norm`` ...), or ``width``: factor on the channels of every stage, or ``depth``: stages
            more (or, negative, fewer) than the rules give.

    Example:
        >>> space = SearchSpace.of_words(["width=0.5,1", "network.name=unet,light"])
        >>> space.size, space.choices["network.name"]
        (4, ('unet', 'light'))
    """

    choices: dict[str, tuple[Any, ...]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _can_be_tried(self) -> Self:
        for key, values in self.choices.items():
            if not values:
                raise ValueError(f"{key}: no value to choose from")
            if key in FROZEN:
                raise ValueError(f"{key}: is the same in every trial; give the search steps or a budget")
            for value in values:
                _check(key, value)
        return self

    @classmethod
    def of(cls, choices: Mapping[str, Iterable[Any]], *, where: str = "space") -> Self:
        """From values by key.

        Args:
            choices: A key with one value fixes it.
            where: Named in errors.

        Raises:
            ConfigError: A key without values, a value that ``width`` or ``depth`` cannot have, or steps.
        """
        try:
            return cls(choices={str(key): tuple(values) for key, values in choices.items()})
        except ValidationError as error:
            raise ConfigError(f"{where}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None

    @classmethod
    def of_words(cls, words: Iterable[str]) -> Self:
        """From ``"key=value,value"`` texts, values as YAML.

        Raises:
            ConfigError: No ``=``, no YAML, or see `of`.
        """
        found: dict[str, Any] = {}
        for text in words:
            key, equals, values = text.partition("=")
            if not equals or not key.strip():
                raise ConfigError(f"--over {text}: expected KEY=VALUE,VALUE, as width=0.5,1")
            try:
                found[key.strip()] = yaml.safe_load(f"[{values}]")
            except yaml.YAMLError:
                raise ConfigError(f"--over {text}: the values are not valid YAML") from None
        return cls.of(found, where="--over")

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """From a YAML file: a mapping of key to list of values.

        Raises:
            ConfigError: No such file, not such a mapping, or see `of`.
        """
        try:
            data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"space {path}: cannot be read ({error.strerror})") from None
        except (yaml.YAMLError, UnicodeDecodeError):
            raise ConfigError(f"space {path}: is not valid YAML; write `width: [0.5, 1]`") from None
        if not isinstance(data, dict) or not all(isinstance(values, list) for values in data.values()):
            raise ConfigError(f"space {path}: is not a mapping of keys to lists; write `width: [0.5, 1]`")
        return cls.of(data, where=f"space {path}")

    @property
    def size(self) -> int:
        """Combinations that there are."""
        return math.prod(len(values) for values in self.choices.values())

    def narrowed(self, other: SearchSpace) -> Self:
        """This space with the values of another one for the keys that it has."""
        return self.model_copy(update={"choices": self.choices | other.choices})


def _check(key: str, value: Any) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if key == "width" and not (number and 0 < value <= 16):
        raise ValueError(f"width: a factor above 0, at most 16, is needed, found {value!r}")
    if key == "depth" and not (number and isinstance(value, int)):
        raise ValueError(f"depth: a whole number of stages is needed, found {value!r}")
