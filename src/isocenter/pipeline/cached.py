"""Samples that were prepared once: kept in a cache, held in memory as far as they fit, else read in parts."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from isocenter.data import CacheEntry, CaseCache, CaseProblem, Progress, map_threads
from isocenter.data.bricks import CachedArray
from isocenter.data.cache import Made
from isocenter.errors import CacheError, DatasetError, IsocenterError
from isocenter.pipeline.keys import prepared_facts
from isocenter.pipeline.pipeline import Pipeline
from isocenter.pipeline.sample import Sample
from isocenter.records import Case
from isocenter.tasks import Placement, Task
from isocenter.volume import Grid

__all__ = ["PreparedCases", "prepare_cached"]

log = logging.getLogger(__name__)


class PreparedCases:
    """Prepared samples by number (a `isocenter.training.SampleSource`).

    ``inputs`` and ``targets`` of samples that are not held in memory have, in the place of tensors on the working grid,
    arrays with ``shape`` and ``dtype`` that read a part when they are sliced (`isocenter.data.CachedArray`), as
    `SpatialMap.sample` does. Any number of threads may read at once.

    Args:
        samples: Held in memory, or with such arrays.
        sites: Of each, see `isocenter.tasks.Task.sites`.
    """

    def __init__(
        self, samples: Sequence[Sample], sites: Sequence[Mapping[str, NDArray[np.int32]] | CacheEntry]
    ) -> None:
        self._samples = tuple(samples)
        self._sites = tuple(sites)

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]

    def __iter__(self) -> Iterator[Sample]:
        return iter(self._samples)

    @property
    def held(self) -> int:
        """How many are in memory as a whole."""
        return sum(not _parts(sample) for sample in self._samples)

    @property
    def nbytes(self) -> int:
        """Bytes of all inputs and targets, in memory or not."""
        return sum(int(a.nbytes) for s in self for a in (*s.inputs.values(), *s.targets.values()))

    def subset(self, indices: Iterable[int]) -> PreparedCases:
        """Some of the samples, in the order of ``indices``; what is in memory is shared."""
        chosen = list(indices)
        return PreparedCases([self._samples[k] for k in chosen], [self._sites[k] for k in chosen])

    def whole(self, index: int) -> Sample:
        """The sample with all its arrays read, as `Pipeline.prepare` gives it; for prediction and measurement."""
        sample = self._samples[index]
        if not _parts(sample):
            return sample
        inputs, targets = ({n: _tensor(a) for n, a in d.items()} for d in (sample.inputs, sample.targets))
        return replace(sample, inputs=inputs, targets=targets)

    def sites(self, index: int) -> Mapping[str, NDArray[np.int32]]:
        """What ``task.sites`` gives for the whole targets of a sample, without reading them."""
        kept = self._sites[index]
        return _stored_sites(kept) if isinstance(kept, CacheEntry) else kept


def prepare_cached(
    pipeline: Pipeline,
    cases: Sequence[Case],
    cache: CaseCache | None,
    *,
    targets: bool = True,
    progress: Progress | None = None,
    workers: int | None = None,
    memory_bytes: int = 1 << 30,
) -> tuple[PreparedCases, tuple[CaseProblem, ...]]:
    """What `Pipeline.prepare` gives for each case, bit for bit, made only where the cache does not have it.

    Args:
        pipeline: Of the plan.
        cases: To prepare.
        cache: ``None`` keeps all samples in memory and nothing on disk.
        targets: With the truth.
        progress: Told how many cases are done.
        workers: Threads, see `isocenter.data.map_threads`.
        memory_bytes: Samples are held in memory, in the order of the cases, until the next would go beyond this; the
            others are read from the cache in parts.

    Returns:
        The samples, and the cases that cannot be used, with the reason.

    Raises:
        CacheError: The cache cannot be written to, or its disk is full.

    Example:
        >>> import tempfile
        >>> from isocenter.plan import Plan
        >>> from isocenter.records import ImageRef
        >>> from isocenter.volume import Volume
        >>> plan = Plan.model_validate({
        ...     "inputs": [{"name": "ct"}],
        ...     "preprocess": {"reference": "ct", "spacing_mm": (0, 2, 2)},
        ...     "task": {"structures": [{"name": "liver", "values": [1]}]},
        ... })
        >>> image = Volume(np.arange(256.0).reshape(4, 8, 8), Grid.regular((4, 8, 8), spacing_mm=(5, 1, 1)))
        >>> case = Case("a", "p", {"ct": ImageRef("ct", "memory", lambda region, level: image, lambda: image.grid)})
        >>> cache = CaseCache(tempfile.mkdtemp())
        >>> samples, problems = prepare_cached(Pipeline(plan), [case], cache, targets=False, memory_bytes=0)
        >>> samples[0].inputs["ct"][:, 1:3, :2].shape, samples.whole(0).inputs["ct"].dtype, problems
        ((1, 2, 2, 4), torch.float32, ())
    """
    built: list[str] = []

    def one(case: Case) -> CacheEntry | Sample | CaseProblem:
        try:
            if cache is None:
                return pipeline.prepare(case, targets=targets)
            return _entry(pipeline, case, cache, targets, built)
        except CacheError:
            raise
        except IsocenterError as error:
            log.warning("left out: %s", error)
            return CaseProblem.of(case.id, error)

    if cache is not None:
        cache.clean()
    found = map_threads(one, list(cases), progress=progress, workers=workers)
    log.info("%d cases, %d of them prepared anew", len(found), len(built) if cache is not None else len(found))
    usable = [(case, f) for case, f in zip(cases, found, strict=True) if not isinstance(f, CaseProblem)]
    room = [memory_bytes]

    def fits(entry: CacheEntry) -> bool:
        room[0] -= sum(a.nbytes for name, a in entry.arrays.items() if name != "sites")
        return room[0] >= 0

    jobs = [(case, f, isinstance(f, Sample) or fits(f)) for case, f in usable]
    samples = map_threads(lambda job: _sample(*job), jobs, workers=workers)
    sites = [_sites(pipeline.task, f) if isinstance(f, Sample) else f for _, f in usable]
    return PreparedCases(samples, sites), tuple(f for f in found if isinstance(f, CaseProblem))


def _entry(pipeline: Pipeline, case: Case, cache: CaseCache, targets: bool, built: list[str]) -> CacheEntry:
    key = cache.key(prepared_facts(pipeline, case, cache.content, targets=targets))

    def make() -> Made:
        sample = pipeline.prepare(case, targets=targets)
        if cache.key(prepared_facts(pipeline, case, cache.content, targets=targets)) != key:
            raise DatasetError(f"case {case.id}: its files changed while they were read; start again")
        built.append(key)
        return _stored(sample, _sites(pipeline.task, sample))

    return cache.get(key, make)


def _sites(task: Task, sample: Sample) -> Mapping[str, NDArray[np.int32]]:
    return task.sites(sample.targets) if sample.targets else {}


def _stored(sample: Sample, sites: Mapping[str, NDArray[np.int32]]) -> Made:
    arrays = {f"inputs/{name}": tensor.numpy() for name, tensor in sample.inputs.items()}
    arrays |= {f"targets/{name}": tensor.numpy() for name, tensor in sample.targets.items()}
    arrays["sites"] = np.concatenate([np.zeros((0, 3), np.int32), *sites.values()])
    facts = {
        "present": dict(sample.present),
        "grids": {name: _grid_facts(grid) for name, grid in sample.grids.items()},
        "reference": _grid_facts(sample.reference),
        "working": _grid_facts(sample.placement.working),
        "target": _grid_facts(sample.placement.target),
        "sites": {name: len(places) for name, places in sites.items()},
    }
    return arrays, facts


def _sample(case: Case, found: CacheEntry | Sample, held: bool) -> Sample:
    if isinstance(found, Sample):
        return found
    facts = found.facts
    working = _grid(facts["working"])
    groups: dict[str, dict[str, Any]] = {"inputs": {}, "targets": {}}
    for label, array in found.arrays.items():
        group, _, name = label.partition("/")
        if group in groups:
            stays = array.ndim == 4 and array.shape[1:] == working.shape and not held
            groups[group][name] = array if stays else _tensor(array)
    grids = {name: _grid(grid) for name, grid in facts["grids"].items()}
    placement = Placement(working, _grid(facts["target"]))
    reference = _grid(facts["reference"])
    return Sample(case, groups["inputs"], facts["present"], grids, reference, placement, groups["targets"])


def _stored_sites(entry: CacheEntry) -> dict[str, NDArray[np.int32]]:
    counts = entry.facts["sites"]
    ends = np.cumsum(list(counts.values()), dtype=np.int64)
    parts = np.split(entry.arrays["sites"].read(), ends[:-1]) if counts else []
    return dict(zip(counts, parts, strict=True))


def _parts(sample: Sample) -> bool:
    """Some of its arrays are read in parts."""
    return any(not isinstance(a, Tensor) for a in (*sample.inputs.values(), *sample.targets.values()))


def _tensor(array: Tensor | CachedArray) -> Tensor:
    return array if isinstance(array, Tensor) else torch.from_numpy(array.read())


def _grid_facts(grid: Grid) -> dict[str, Any]:
    return {"shape": list(grid.shape), "affine": grid.affine.tolist(), "frame": grid.frame}


def _grid(facts: Mapping[str, Any]) -> Grid:
    z, y, x = facts["shape"]
    return Grid((z, y, x), np.array(facts["affine"], dtype=np.float64), facts["frame"])
