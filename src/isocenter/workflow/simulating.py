"""The verb `simulate`: studies with known truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from isocenter.errors import ConfigError
from isocenter.io.files import atomic_folder
from isocenter.workflow.progress import Progress

__all__ = ["PHANTOMS", "simulate"]

PHANTOMS = ("thorax",)


def simulate(
    phantom: str,
    *,
    out: str | Path,
    cases: int = 12,
    seed: int = 7,
    overwrite: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Path:
    """Write DICOM studies of a digital phantom with truth as DICOM SEG, in the layout that every verb reads.

    Args:
        phantom: ``"thorax"``.
        out: Folder to write; appears whole or not at all.
        cases: Number of studies; a study does not depend on how many are made.
        seed: Another seed, other patients.
        overwrite: Replace a folder that is not empty.
        progress: Told how far it is.
        options: See `isocenter.simulate.simulate_thorax`: ``matrix``, ``slice_mm``, ``nodules``, ``structures`` ...

    Raises:
        ConfigError: No such phantom, or a folder that is not empty.
    """
    if phantom not in PHANTOMS:
        raise ConfigError(f"phantom {phantom!r} is not known; there is {', '.join(PHANTOMS)}")
    from isocenter.simulate import simulate_thorax

    tell = (lambda done, total: progress("simulating studies", done, total)) if progress else None
    with atomic_folder(out, overwrite=overwrite) as aside:
        simulate_thorax(aside, cases=cases, seed=seed, progress=tell, **options)
    return Path(out)
