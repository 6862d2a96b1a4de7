"""Contours of DICOM structure sets as labels of the series they were drawn on, structure by structure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from isocenter.data.layouts.drawn import Drawn, contour_policy
from isocenter.data.problems import CaseProblem
from isocenter.errors import LabelError

if TYPE_CHECKING:
    from isocenter.io.dicom import Series
    from isocenter.io.dicom.rtstruct import Roi, RtstructHeader

__all__ = ["contoured"]


def contoured(
    case: str,
    file: str,
    images: Mapping[str, Series],
    taken: Mapping[str, Collection[str]],
    problems: list[CaseProblem],
) -> dict[str, tuple[Drawn, tuple[str, ...]]]:
    """What a structure set says of each image series.

    Args:
        case: For problems.
        file: The structure set.
        images: Series that make a volume, by UID.
        taken: Structures that other files outline, by series.
        problems: Receives what cannot be used: whole files, or single structures.

    Returns:
        By series: what can be read, if only in part, and the names of what cannot be.

    Raises:
        IsocenterError: The file cannot be read at all.
    """
    from isocenter.io.dicom.rtstruct import contour_problems, rtstruct_header

    head = rtstruct_header(file)
    _tell_skipped(case, head, problems)
    chosen: dict[str, list[str]] = {}
    refused: dict[str, list[str]] = {}
    for roi in head.rois:
        if not roi.encloses:
            continue
        try:
            series = _series_of(head, roi, images, taken)
        except LabelError as error:
            problems.append(CaseProblem.of(case, error))
            continue
        chosen.setdefault(series, []).append(roi.name)
    for series, names in chosen.items():
        # images may have been written anew under other UIDs since; what counts is that contours lie on their planes
        grid = images[series].stack().grid()
        found = contour_problems(file, grid=grid, structures=names, policy=contour_policy())
        problems += [CaseProblem.of(case, error) for error in found.values()]
        refused[series] = [*found]
    left = {series: [n for n in names if n not in refused[series]] for series, names in chosen.items()}
    return {
        series: (Drawn(file, head.chosen(names), contours=True), tuple(refused[series]))
        for series, names in left.items()
    }


def _tell_skipped(case: str, head: RtstructHeader, problems: list[CaseProblem]) -> None:
    skipped = [f"'{roi.name}' ({', '.join(roi.skipped)})" for roi in head.rois if roi.skipped]
    if skipped:
        text = f"{head.file}: contours that enclose nothing are left out: {', '.join(skipped)}"
        problems.append(CaseProblem(case, text, "LabelError"))


def _series_of(
    head: RtstructHeader, roi: Roi, images: Mapping[str, Series], taken: Mapping[str, Collection[str]]
) -> str:
    if len(roi.series) > 1:
        raise LabelError(f"{head.file}: '{roi.name}' is drawn on {len(roi.series)} series; export it once for each")
    if not roi.series or roi.series[0] not in images:
        raise LabelError(
            f"{head.file}: the series that '{roi.name}' was drawn on is not among the usable images of its study"
        )
    if roi.name in taken.get(roi.series[0], ()):
        raise LabelError(f"{head.file}: '{roi.name}' is outlined twice on one series; keep one of the files")
    return roi.series[0]
