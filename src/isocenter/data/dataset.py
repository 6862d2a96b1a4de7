"""A set of cases: what every verb takes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from isocenter.data.problems import CaseProblem
from isocenter.data.splits import Splits
from isocenter.errors import DatasetError, SplitError
from isocenter.records import Annotation, Case, ImageRef, LabelMap, LabelSchema, Masks

if TYPE_CHECKING:
    from isocenter.data.parallel import Progress

__all__ = ["CaseDataset", "Dataset"]


class Dataset(ABC):
    """Cases with their patients, images and annotations; nothing is read before it is asked for.

    `Dataset.read` opens a folder. A class of your own needs ``ids`` and ``__getitem__``, and ``schema`` where it
    has label maps.

    Attributes:
        name: For messages and reports.
        schema: Structures of the main set of label maps; ``None`` where there are none.
        splits: Named parts, where the dataset states them.
        problems: Cases that could not be used; they are not among ``ids`` (unless marked as kept).
        path: Folder or file it was read from.
        layout: Name of the layout that read it.

    Example:
        >>> cases = [Case("a", "p1", {}), Case("b", "p2", {})]
        >>> dataset = CaseDataset("demo", cases, splits=Splits({"train": ["a"], "val": ["b"]}))
        >>> dataset.split("val").ids, dataset["a"].patient, len(dataset)
        (('b',), 'p1', 2)
    """

    name: str = "dataset"
    schema: LabelSchema | None = None
    splits: Splits | None = None
    problems: tuple[CaseProblem, ...] = ()
    path: Path | None = None
    layout: str | None = None

    @staticmethod
    def read(
        path: str | Path,
        *,
        layout: str | None = None,
        splits: str | Path | Splits | None = None,
        progress: Progress | None = None,
    ) -> Dataset:
        """The dataset in a folder (or of a table file).

        The geometry of every label is compared with that of its image, from headers alone. Splits are those of the
        argument, else of ``splits.json`` in the folder, else of the layout itself.

        Args:
            path: Folder, or CSV file of the table layout.
            layout: Name of the layout, where it should not be found out: ``"table"``, ``"nnunet"``, ``"msd"``,
                ``"dicom"``, or that of a plug-in.
            splits: JSON file of splits, or the splits.
            progress: Called as ``progress(done, total)`` while cases are checked.

        Raises:
            DatasetError: Nothing there, no layout fits, or no case can be used; the first causes are named.
            SplitError: Splits that overlap, share a patient, or name unknown cases.
        """
        from isocenter.data.reading import read_dataset

        return read_dataset(Path(path), layout=layout, splits=splits, progress=progress)

    @property
    @abstractmethod
    def ids(self) -> tuple[str, ...]:
        """Case ids in a fixed order."""

    @abstractmethod
    def __getitem__(self, case_id: str) -> Case:
        """The case of an id; `DatasetError` where there is none."""

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Case]:
        return (self[i] for i in self.ids)

    def __contains__(self, case_id: object) -> bool:
        return case_id in self.ids

    @property
    def patients(self) -> tuple[str, ...]:
        """Pseudonyms of the patients, each once, in the order of their first case."""
        return tuple(dict.fromkeys(case.patient for case in self))

    @property
    def images(self) -> tuple[str, ...]:
        """Names of the images that any case has, in a fixed order."""
        return tuple(dict.fromkeys(name for case in self for name in case.images))

    @property
    def modalities(self) -> Mapping[str, str]:
        """DICOM modality of each image, where known."""
        return {name: ref.modality for case in self for name, ref in case.images.items() if ref.modality}

    def subset(self, ids: Iterable[str]) -> CaseDataset:
        """Some of the cases, in the order of ``ids``, without splits or problems.

        Raises:
            DatasetError: An id is not in the dataset.
        """
        cases = tuple(self[i] for i in ids)
        return CaseDataset(
            self.name, cases, schema=self.schema, image_order=self.images, path=self.path, layout=self.layout
        )

    def split(self, name: str) -> CaseDataset:
        """The part called ``name``.

        Raises:
            SplitError: There is no such part.
        """
        if self.splits is None or name not in self.splits:
            have = ", ".join(self.splits or ()) or "none"
            raise SplitError(f"dataset {self.name}: no split '{name}' (it has: {have})")
        return self.subset(self.splits[name])

    def with_splits(self, splits: Splits | None) -> CaseDataset:
        """The same cases with other splits, resolved and checked.

        Raises:
            SplitError: As `Splits.resolve`.
        """
        return replace(self._copy(), splits=splits.resolve(self) if splits is not None else None)

    def with_schema(self, schema: LabelSchema, *, name: str = "main") -> CaseDataset:
        """The same cases with the label maps and masks of set ``name`` under another schema.

        Example:
            A set of scribbles in which 4 means "not annotated":

            >>> from isocenter.records import LabelSchema
            >>> schema = LabelSchema.of({"ventricle": 1, "myocardium": 2, "ignore": 4})
            >>> CaseDataset("demo", [Case("a", "p1", {})]).with_schema(schema, name="scribble").schema is None
            True
        """

        def change(annotation: Annotation) -> Annotation:
            if isinstance(annotation, LabelMap | Masks) and annotation.name == name:
                return replace(annotation, schema=schema)
            return annotation

        cases = tuple(replace(case, annotations=tuple(map(change, case.annotations))) for case in self)
        return replace(self._copy(), cases=cases, schema=schema if name == "main" else self.schema)

    def annotated(self, *kinds: type[Annotation], name: str = "main") -> CaseDataset:
        """The cases that have an annotation of one of ``kinds`` in set ``name``."""
        return self.subset(
            case.id for case in self if any(isinstance(a, kinds) and a.name == name for a in case.annotations)
        )

    def _copy(self) -> CaseDataset:
        return CaseDataset(
            self.name,
            tuple(self),
            schema=self.schema,
            splits=self.splits,
            problems=self.problems,
            image_order=self.images,
            path=self.path,
            layout=self.layout,
        )


@dataclass(frozen=True, eq=False)
class CaseDataset(Dataset):
    """A dataset that holds its cases; the images stay on disk.

    Args:
        name: For messages and reports.
        cases: In a fixed order.
        schema: Structures of the main set of label maps.
        splits: Named parts.
        problems: Cases that could not be used.
        image_order: Order of image names; names that no case has are left out, others follow.
        path: Where it was read from.
        layout: Which layout read it.

    Raises:
        DatasetError: Two cases with one id, or one image name with two modalities.
    """

    name: str
    cases: tuple[Case, ...] = ()
    schema: LabelSchema | None = None
    splits: Splits | None = None
    problems: tuple[CaseProblem, ...] = ()
    image_order: tuple[str, ...] = field(default=(), kw_only=True)
    path: Path | None = field(default=None, kw_only=True)
    layout: str | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        object.__setattr__(self, "cases", tuple(self.cases))
        for case_id in self.ids:
            if len(self._index) == len(self.cases):
                break
            if self.ids.count(case_id) > 1:
                raise DatasetError(f"dataset {self.name}: case {case_id} is there twice; ids must be unique")
        modality: dict[str, ImageRef] = {}
        for case in self.cases:
            for name, ref in case.images.items():
                first = modality.setdefault(name, ref) if ref.modality else None
                if first and first.modality != ref.modality:
                    raise DatasetError(
                        f"dataset {self.name}: image '{name}' is {first.modality} in one case and {ref.modality}"
                        f" in case {case.id}; give them different names"
                    )

    @cached_property
    def _index(self) -> dict[str, Case]:
        return {case.id: case for case in self.cases}

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Case ids in a fixed order."""
        return tuple(case.id for case in self.cases)

    @cached_property
    def images(self) -> tuple[str, ...]:
        """Names of the images that any case has, in a fixed order."""
        present = dict.fromkeys(name for case in self.cases for name in case.images)
        return tuple(dict.fromkeys([*(n for n in self.image_order if n in present), *present]))

    def __getitem__(self, case_id: str) -> Case:
        if case_id not in self._index:
            cause = next((f" ({p})" for p in self.problems if p.case == case_id), "")
            raise DatasetError(f"dataset {self.name}: no case {case_id} among its {len(self)} cases{cause}")
        return self._index[case_id]

    def __contains__(self, case_id: object) -> bool:
        return case_id in self._index
