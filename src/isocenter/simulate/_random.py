"""Random streams and identifiers that follow from (seed, case, purpose) alone."""

from __future__ import annotations

import hashlib
import uuid

import numpy as np

from isocenter.errors import ConfigError

__all__ = ["derived_uid", "stream"]

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "isocenter simulate")


def stream(seed: int, case: int, purpose: str) -> np.random.Generator:
    """Generator for one purpose in one case.

    Philox is counter-based and keyed, so the numbers of a case depend neither on how many cases are made nor on their
    order, and a new purpose does not shift the numbers of the others (Salmon et al., SC 2011).

    Args:
        seed: Seed of the whole dataset, 0 or more.
        case: Number of the case, 0 or more.
        purpose: What the numbers are for, e.g. ``"noise"``.

    Raises:
        ConfigError: ``seed`` or ``case`` is negative.

    Example:
        >>> bool(stream(7, 2, "noise").random() == stream(7, 2, "noise").random())
        True
    """
    if seed < 0 or case < 0:
        raise ConfigError(f"seed {seed} and case {case} must be 0 or more")
    digest = hashlib.sha256(f"{seed}/{case}/{purpose}".encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], np.uint64)))


def derived_uid(seed: int, index: int, story: str, what: str) -> str:
    """A UID (PS3.5 B.2, from a UUID) that follows from what the case is made from, so that a rerun gives the same.

    Example:
        >>> derived_uid(1, 0, "", "study") == derived_uid(1, 0, "", "study") != derived_uid(2, 0, "", "study")
        True
    """
    from isocenter import __version__

    return f"2.25.{uuid.uuid5(_NAMESPACE, f'{__version__}/{seed}/{index}/{story}/{what}').int}"
