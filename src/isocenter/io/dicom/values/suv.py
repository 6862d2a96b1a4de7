"""Standardised uptake values by body weight (SUVbw) from what PET headers state.

After the vendor-neutral pseudo-code of the Quantitative Imaging Biomarkers Alliance (QIBA, "Standardized Uptake Value",
qibawiki.rsna.org): the dose is decayed from its administration to the moment that the pixel values are corrected to.
That moment is the start of the scan, which Series Time (0008,0031) states unless the series was processed again. Where
values are not decay corrected (Decay Correction NONE), they are means over their frame and stand for the moment of the
average count rate (PS3.3 C.8.9.4.1.5). Enhanced PET states its dose in MBq and its moment outright (PS3.3 C.8.22).

Published software was seen to differ by up to a third in this number (arXiv:2410.13348): what is not stated is refused.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from isocenter.errors import SeriesError
from isocenter.io.dicom.header import tag_name
from isocenter.io.dicom.values.realworld import real_world_maps
from isocenter.io.dicom.values.suv_times import administered_at, corrected_to

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from isocenter.io.dicom.header import Header

__all__ = ["SuvScale", "suv_factors", "suv_scale"]

_PHILIPS_SUV, _PHILIPS_BQML = (f"7053,{low}:Philips PET Private Group" for low in ("00", "09"))
_T = TypeVar("_T")
_ENHANCED = "1.2.840.10008.5.1.4.1.1.130"
_LEAST_BQ, _MOST_MBQ = 1e4, 1e5  # a thousandth of a mouse's dose; a thousand patients' doses
_MOST_HALF_LIVES = 10  # after which there is nothing to be seen
_UCUM = {"Bq/ml": "BQML", "{counts}": "CNTS", "g/ml": "GML", "g/ml{SUVbw}": "GML"}
_INSTEAD = "add it, or use the values in the unit they have"


@dataclass(frozen=True, eq=False)
class SuvScale:
    """How values of PET slices become SUVbw in g/ml.

    Attributes:
        factors: One a slice: its rescaled value times this is SUVbw.
        notes: What had to be done other than the plain way, for the flags of a result.
    """

    factors: NDArray[np.float64]
    notes: tuple[str, ...] = ()


def suv_factors(headers: Sequence[Header]) -> NDArray[np.float64]:
    """Factors of `suv_scale`.

    Raises:
        SeriesError: See `suv_scale`.
    """
    return suv_scale(headers).factors


def suv_scale(headers: Sequence[Header]) -> SuvScale:
    """Factors from rescaled values to SUVbw, one for each slice of a series.

    Args:
        headers: Of all slices: the start of the scan may have to be found from the earliest.

    Raises:
        SeriesError: An element that is needed is absent or senseless, or values are no activity (per ml).

    Example:
        >>> from isocenter.io.dicom.header import Header
        >>> tags = {"Units": "BQML", "DecayCorrection": "ADMIN", "CorrectedImage": ("DECY", "ATTN")}
        >>> dose = {"RadionuclideTotalDose": 4e8}
        >>> tags |= {"PatientWeight": 80.0, "RadiopharmaceuticalInformationSequence": (dose,)}
        >>> suv_factors([Header("pet.dcm", 0, tags)])
        array([0.0002])
    """
    units = _same(headers, _units, "Units (0054,1001)")
    if units == "GML":
        return _stated_suv(headers)
    for header in headers:
        _refuse_uncorrected(header)
    if units == "BQML":
        return _from_activity(headers)
    return _from_counts(headers)


def _same(headers: Sequence[Header], of: Callable[[Header], _T], name: str) -> _T:
    found = {of(header) for header in headers}
    if len(found) != 1:
        where = headers[0].file if headers else "no files"
        raise SeriesError(f"{where}: {name} has {len(found)} values in one series; give one series")
    return found.pop()


def _units(header: Header) -> str:
    units = header.text("Units") or _UCUM.get(_mapped_unit(header), "")
    if units not in ("BQML", "CNTS", "GML"):
        raise SeriesError(
            f"{header.file}: Units (0054,1001) is {units or 'absent'}, not BQML, CNTS or GML: no SUV can be computed;"
            " use the values in the unit they have"
        )
    return units


def _mapped_unit(header: Header) -> str:
    """Unit of the map that is the rescale itself: where enhanced PET states what its values are."""
    rescale = header.number("RescaleSlope", 1.0), header.number("RescaleIntercept", 0.0)
    for item in real_world_maps(header):
        if item.table is None and np.allclose((item.slope, item.intercept), rescale, rtol=1e-9, atol=0):
            return item.unit
    return ""


def _stated_suv(headers: Sequence[Header]) -> SuvScale:
    kind = _same(headers, lambda h: h.text("SUVType", "BW"), "SUVType (0054,1006)")
    if kind != "BW":
        raise SeriesError(
            f"{headers[0].file}: SUVType (0054,1006) is {kind}: uptake that is not standardised by body weight; use the"
            " values as they are"
        )
    notes = () if "SUVType" in headers[0] else ("SUVType is absent, values in GML were taken for SUVbw",)
    return SuvScale(np.ones(len(headers)), notes)


def _refuse_uncorrected(header: Header) -> None:
    if "CorrectedImage" in header:
        done = set(header.text("CorrectedImage").upper().split("\\"))
        attenuation, decay = "ATTN" in done, "DECY" in done
        name = "CorrectedImage (0028,0051)"
    elif "AttenuationCorrected" in header:
        attenuation, decay = header.text("AttenuationCorrected") == "YES", header.text("DecayCorrected") == "YES"
        name = "AttenuationCorrected (0018,9759)"
    else:
        raise SeriesError(
            f"{header.file}: CorrectedImage (0028,0051) is absent: whether attenuation was corrected is not known;"
            f" {_INSTEAD}"
        )
    if not attenuation:
        raise SeriesError(
            f"{header.file}: {name} says that attenuation was not corrected: values are no activity; choose the"
            " corrected series"
        )
    if decay != (_decay_correction(header) != "NONE"):
        raise SeriesError(
            f"{header.file}: {name} and DecayCorrection (0054,1102) do not agree whether decay was corrected;"
            " export it again"
        )


def _decay_correction(header: Header) -> str:
    """``START``, ``ADMIN``, ``NONE``, or ``STATED`` where its moment is."""
    if "DecayCorrection" not in header and "DecayCorrected" in header:
        return "STATED" if header.text("DecayCorrected") == "YES" else "NONE"
    kind = header.text("DecayCorrection")
    if kind not in ("START", "ADMIN", "NONE"):
        raise SeriesError(
            f"{header.file}: DecayCorrection (0054,1102) is {kind or 'absent'}, not START, ADMIN or NONE; {_INSTEAD}"
        )
    return kind


def _from_counts(headers: Sequence[Header]) -> SuvScale:
    """Philips: a private factor to SUVbw, or one to Bq/ml."""
    direct = np.array([_private(h, _PHILIPS_SUV) for h in headers])
    if (direct > 0).all():
        return SuvScale(direct, ("values are counts, the private SUV factor (7053,xx00) of Philips was used",))
    to_activity = np.array([_private(h, _PHILIPS_BQML) for h in headers])
    if not (to_activity > 0).all():
        raise SeriesError(
            f"{headers[0].file}: Units (0054,1001) is CNTS, and neither the SUV factor (7053,xx00) nor the activity"
            " factor (7053,xx09) of the Philips PET Private Group is there; export it with private elements"
        )
    scale = _from_activity(headers)
    note = "values are counts, the private activity factor (7053,xx09) of Philips was used"
    return SuvScale(scale.factors * to_activity, (note, *scale.notes))


def _private(header: Header, key: str) -> float:
    try:
        return header.number(key, 0.0)
    except SeriesError:
        return 0.0


def _from_activity(headers: Sequence[Header]) -> SuvScale:
    """Bq/ml: weight over the dose that is left at the moment the values are corrected to."""
    kind = _same(headers, _decay_correction, "DecayCorrection (0054,1102)")
    weight_g = 1000 * _same(headers, lambda h: _positive(h, "PatientWeight"), "PatientWeight (0010,1030)")
    dose_bq = _same(headers, _dose_bq, "RadionuclideTotalDose (0018,1074)")
    if kind == "ADMIN":
        return SuvScale(np.full(len(headers), weight_g / dose_bq))
    half_life_s = _same(headers, _half_life_s, "RadionuclideHalfLife (0018,1075)")
    moments, notes = corrected_to(headers, kind, half_life_s)
    start = administered_at(headers[0], _agent(headers[0]), min(moments))
    elapsed_s = np.array([(moment - start).total_seconds() for moment in moments])
    for half_lives in (elapsed_s.min() / half_life_s, elapsed_s.max() / half_life_s):
        if not 0 <= half_lives <= _MOST_HALF_LIVES:
            raise SeriesError(
                f"{headers[0].file}: RadiopharmaceuticalStartDateTime (0018,1078) or RadiopharmaceuticalStartTime"
                f" (0018,1072) is {half_lives:.3g} half-lives before the scan, 0 to {_MOST_HALF_LIVES} make sense; were"
                " dates shifted apart? Correct them"
            )
    return SuvScale(weight_g / (dose_bq * np.exp2(-elapsed_s / half_life_s)), notes)


def _agent(header: Header) -> Header:
    """The item of what was administered, as a header of its own."""
    items = header.tags.get("RadiopharmaceuticalInformationSequence", ())
    items = items if isinstance(items, tuple) else ()
    if len(items) > 1 and "RadiopharmaceuticalAgentNumber" in header:
        number = header.integer("RadiopharmaceuticalAgentNumber")
        items = tuple(item for item in items if item.get("RadiopharmaceuticalAgentNumber") == number)
    if len(items) != 1:
        raise SeriesError(
            f"{header.file}: RadiopharmaceuticalInformationSequence (0054,0016) has {len(items)} items, of which one is"
            f" meant; {_INSTEAD}"
        )
    return replace(header, tags=items[0])


def _dose_bq(header: Header) -> float:
    dose = _positive(_agent(header), "RadionuclideTotalDose")
    enhanced = header.text("SOPClassUID") == _ENHANCED
    if dose > _MOST_MBQ if enhanced else dose < _LEAST_BQ:
        raise SeriesError(
            f"{header.file}: RadionuclideTotalDose (0018,1074) is {dose:g}, which cannot be"
            f" {'MBq' if enhanced else 'Bq'}, the unit it has in this kind of file; correct it"
        )
    return dose * 1e6 if enhanced else dose


def _half_life_s(header: Header) -> float:
    return _positive(_agent(header), "RadionuclideHalfLife")


def _positive(header: Header, keyword: str) -> float:
    if keyword not in header:
        raise SeriesError(f"{header.file}: {tag_name(keyword)} is absent, without it there is no SUV; {_INSTEAD}")
    number = header.number(keyword)
    if number <= 0 or math.isinf(number):
        raise SeriesError(f"{header.file}: {tag_name(keyword)} is {number:g}, without it there is no SUV; correct it")
    return number
