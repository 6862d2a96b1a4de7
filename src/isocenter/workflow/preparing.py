"""Prepared cases of a dataset by id, and parts of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from isocenter.data import CaseCache, CaseDataset, CaseProblem
from isocenter.pipeline import Pipeline, PreparedCases, Sample, prepare_cached
from isocenter.workflow.progress import Progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Part", "Prepared", "prepare"]


@dataclass(frozen=True)
class Part:
    """Some of the prepared cases; a `isocenter.training.SampleSource`."""

    samples: PreparedCases | None
    numbers: Sequence[int]

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Sample:
        return self._all[self.numbers[index]]

    def whole(self, index: int) -> Sample:
        """A sample whose arrays are in memory."""
        return self._all.whole(self.numbers[index])

    def sites(self, index: int) -> Mapping[str, NDArray[np.int32]]:
        """As `isocenter.tasks.Task.sites` of a sample, without reading its targets."""
        return self._all.sites(self.numbers[index])

    @property
    def _all(self) -> PreparedCases:
        if self.samples is None:
            raise IndexError("no case was prepared")
        return self.samples


@dataclass(frozen=True)
class Prepared:
    """Cases as tensors.

    Attributes:
        samples: Of all usable cases.
        numbers: Place of each case id in ``samples``.
        problems: Cases that could not be prepared.
    """

    samples: PreparedCases | None = None
    numbers: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[CaseProblem, ...] = ()

    def choose(self, ids: Sequence[str]) -> Part:
        """The usable ones of these cases, in their order."""
        return Part(self.samples, [self.numbers[i] for i in ids if i in self.numbers])


def prepare(pipeline: Pipeline, dataset: CaseDataset, cache: Path, progress: Progress | None) -> Prepared:
    """Prepare every case of ``dataset`` with its truth, or take it from the cache."""
    report = (lambda done, total: progress("preparing cases", done, total)) if progress else None
    samples, problems = prepare_cached(pipeline, list(dataset), CaseCache(cache), progress=report)
    return Prepared(samples, {samples[k].case.id: k for k in range(len(samples))}, tuple(problems))
