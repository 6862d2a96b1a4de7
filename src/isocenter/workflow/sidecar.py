"""What is told of an image beside its voxels: JSON with the names and units of BIDS, as dcm2niix writes them.

Times are in seconds. Who the patient is, where and on which machine the image was taken is never among the fields.
https://bids-specification.readthedocs.io
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from isocenter.errors import IsocenterError
from isocenter.io.dicom.mosaic import csa_values
from isocenter.workflow.joining import acquired_s

if TYPE_CHECKING:
    from isocenter.io.dicom.header import Header
    from isocenter.workflow.joining import Joined

__all__ = ["sidecar"]

_MAKERS = ("GE", "Siemens", "Philips", "Canon", "Toshiba", "Hitachi", "UIH", "Bruker", "Mediso", "Fujifilm")
_OWN_NAMES = {
    "ManufacturersModelName": "ManufacturerModelName",
    "BodyPart": "BodyPartExamined",
    "ProcedureStepDescription": "PerformedProcedureStepDescription",
    "EchoNumber": "EchoNumbers",
    "PercentPhaseFOV": "PercentPhaseFieldOfView",
    "PhaseEncodingSteps": "NumberOfPhaseEncodingSteps",
    "XRayExposure": "Exposure",
    "AttenuationCorrection": "AttenuationCorrectionMethod",
    "FrameDuration": "ActualFrameDuration",
}
"""Where BIDS or dcm2niix call an element other than DICOM does."""

_ELSE = {
    "ImagingFrequency": "TransmitterFrequency",
    "SequenceName": "PulseSequenceName",
    "SAR": "SpecificAbsorptionRateValue",
    "PhaseEncodingSteps": "MRAcquisitionPhaseEncodingStepsInPlane",
}
"""What multi-frame images have in the place of an element."""


_TEXT = (
    *("Modality", "ManufacturersModelName", "SoftwareVersions", "BodyPart", "PatientPosition", "MRAcquisitionType"),
    *("ScanningSequence", "SequenceVariant", "ScanOptions", "PulseSequenceName", "SequenceName"),
    *("ReceiveCoilName", "ParallelAcquisitionTechnique", "PartialFourierDirection", "ConvolutionKernel", "FilterType"),
    *("Units", "DecayCorrection", "AttenuationCorrection", "RandomsCorrectionMethod", "ReconstructionMethod"),
)
_NUMBERS = (
    *("MagneticFieldStrength", "ImagingFrequency", "SeriesNumber", "AcquisitionNumber", "SliceThickness"),
    *("SpacingBetweenSlices", "SAR", "EchoNumber", "FlipAngle", "EchoTrainLength", "PercentPhaseFOV"),
    *("PercentSampling", "PhaseEncodingSteps", "PixelBandwidth", "NumberOfAverages", "AcquisitionDuration"),
    *("ParallelReductionFactorInPlane", "ParallelReductionFactorOutOfPlane"),
    *("KVP", "XRayTubeCurrent", "XRayExposure", "GantryDetectorTilt", "SpiralPitchFactor"),
    *("DataCollectionDiameter", "ReconstructionDiameter", "DoseCalibrationFactor", "ScatterFractionFactor"),
)
_MILLISECONDS = ("EchoTime", "RepetitionTime", "InversionTime", "ExposureTime", "FrameDuration")
_FREE_TEXT = ("SeriesDescription", "ProtocolName", "ProcedureStepDescription")
_IDENTIFIERS = ("SeriesInstanceUID", "StudyInstanceUID")
_TRACER = {
    "Radiopharmaceutical": "Radiopharmaceutical",
    "RadionuclideTotalDose": "RadionuclideTotalDose",
    "RadionuclideHalfLife": "RadionuclideHalfLife",
    "RadionuclidePositronFraction": "RadionuclidePositronFraction",
}


def sidecar(image: Joined, *, anonymous: bool = False) -> dict[str, Any]:
    """Fields of one image; those that no header states are left out.

    Args:
        image: Volumes of one file.
        anonymous: Leave out UIDs, times of day and what people typed.
    """
    header = image.stacks[0].headers[0]
    own = (*_TEXT, *(() if anonymous else (*_FREE_TEXT, *_IDENTIFIERS)))
    found: dict[str, Any] = {name: _text(header, name) for name in own}
    found |= {name: _number(header, name) for name in _NUMBERS}
    found |= {name: _number(header, name, scale=1e-3) for name in _MILLISECONDS}
    found |= {
        "Manufacturer": _maker(header),
        "ImageType": list(header.image_type) if "ImageType" in header else None,
        "ImageOrientationPatientDICOM": _numbers(header, "ImageOrientationPatient"),
        "AcquisitionTime": None if anonymous else _time_of_day(image.files),
        **_encoding(header),
        **_tracer(header),
    }
    if len(image.stacks) > 1:
        found["SliceTiming"] = _slice_timing(image)
    if header.text("Modality") != "PT":
        del found["FrameDuration"]
    if not found["InversionTime"]:
        del found["InversionTime"]
    return {name: value for name, value in found.items() if value not in (None, "")}


def _text(header: Header, name: str) -> str | None:
    return header.text(_keyword(header, name)) or None


def _keyword(header: Header, name: str) -> str:
    keyword = _OWN_NAMES.get(name, name)
    return keyword if keyword in header else _ELSE.get(name, keyword)


def _number(header: Header, name: str, *, scale: float = 1.0) -> float | None:
    keyword = _keyword(header, name)
    if keyword not in header:
        return None
    try:
        return _plain(header.number(keyword) * scale)
    except IsocenterError:  # unreadable, or several: not what the field means
        return None


def _numbers(header: Header, keyword: str) -> list[float] | None:
    value = header.tags.get(keyword)
    try:
        return [_plain(v) for v in header.numbers(keyword, len(value))] if isinstance(value, tuple) else None
    except IsocenterError:
        return None


def _plain(value: float) -> float:
    """Without the digits that changing units adds, and without a point where it is whole."""
    value = float(f"{value:.12g}")
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _maker(header: Header) -> str | None:
    """The short name that tools for BIDS look for."""
    stated = header.text("Manufacturer")
    return next((m for m in _MAKERS if stated.lower().startswith(m.lower())), stated) or None


def _time_of_day(files: Sequence[Header]) -> str | None:
    """When the acquisition began, as ``HH:MM:SS.ffffff``."""
    moments = [t for h in files if (t := acquired_s(h)) is not None]
    if not moments:
        return None
    micro = round(min(moments) % 86400 * 1e6)
    minutes, seconds = divmod(micro, 60_000_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds / 1e6:09.6f}"


def _encoding(header: Header) -> dict[str, Any]:
    """In which direction phase was encoded, along the axes of the file."""
    stated = header.text("InPlanePhaseEncodingDirection").upper()
    if stated[:3] not in ("COL", "ROW"):
        return {}
    columns = stated.startswith("COL")
    axis, lines = ("j", header.integer("Rows")) if columns else ("i", header.integer("Columns"))
    found: dict[str, Any] = {"InPlanePhaseEncodingDirectionDICOM": stated[:3], "ReconMatrixPE": lines}
    onwards = _phase_onwards(header)
    if onwards is None:
        found["PhaseEncodingAxis"] = axis
    else:  # rows of the file run the other way than those of the DICOM image
        found["PhaseEncodingDirection"] = axis if onwards != columns else f"{axis}-"
    taken = [n for n in (header.tags.get("AcquisitionMatrix") or ())[2:] if n]
    if len(taken) == 1:
        found["AcquisitionMatrixPE"] = taken[0]
    width, spacing = _phase_bandwidth_hz(header), _echo_spacing_s(header, lines)
    if width:
        found["BandwidthPerPixelPhaseEncode"] = _plain(width)
    if spacing:
        found["EffectiveEchoSpacing"] = _plain(spacing)
        found["TotalReadoutTime"] = _plain(spacing * (lines - 1))
    return found


def _phase_onwards(header: Header) -> bool | None:
    """Whether phase grows with the row or column index; only Siemens states it, in its own elements."""
    stated = _number(header, "0021,1C:SIEMENS MR SDI 02")
    for value in (stated, *csa_values(header, "PhaseEncodingDirectionPositive")):
        if value in (0, 1):
            return value == 1
    return None


def _echo_spacing_s(header: Header, lines: int) -> float | None:
    """Of echo-planar images, where the vendor states what it follows from."""
    width = _phase_bandwidth_hz(header)
    if width:
        return 1 / (width * lines)
    unaccelerated = header.text("0043,83:GEMS_PARM_01") in ("", "1\\1", "1.0\\1.0")
    micro = _number(header, "0043,2C:GEMS_PARM_01")
    return micro * 1e-6 if micro and micro > 0 and unaccelerated else None


def _phase_bandwidth_hz(header: Header) -> float | None:
    """Of one pixel along the direction of phase."""
    return _number(header, "0019,28:SIEMENS MR HEADER") or _number(header, "0021,53:SIEMENS MR SDI 02")


def _tracer(header: Header) -> dict[str, Any]:
    items = header.tags.get("RadiopharmaceuticalInformationSequence")
    item: Mapping[str, Any] = items[0] if isinstance(items, tuple) and items and isinstance(items[0], Mapping) else {}
    return {name: _shown(item.get(keyword)) for name, keyword in _TRACER.items()}


def _shown(value: Any) -> Any:
    return _plain(value) if isinstance(value, int | float) else value if isinstance(value, str) else None


def _slice_timing(image: Joined) -> list[float] | None:
    """When each slice of the first volume was taken, in seconds after its first, in the order of the file."""
    headers = image.stacks[0].headers
    step = image.step_s
    if headers[0].text("MRAcquisitionType") != "2D" or len(headers) != image.grid.shape[0] or step is None:
        return None
    for moment in (_mosaic_s, acquired_s):
        moments = [moment(h) for h in headers]
        known = [m for m in moments if m is not None]
        # slices of one volume are taken within one step; else the times are those of something else
        if len(known) == len(headers) and 0 < max(known) - min(known) < step:
            return [_plain(round(m - min(known), 6)) for m in known]
    return None


def _mosaic_s(header: Header) -> float | None:
    """Of a tile of a Siemens mosaic; the scanner lists the times of all of them in milliseconds."""
    times = header.tags.get("0019,29:SIEMENS MR HEADER")
    if header.tile is None or not isinstance(times, tuple):
        return None
    top, bottom, left, right = header.tile
    height, width = bottom - top, right - left
    side = 1
    while side * side < len(times):
        side += 1
    index = top // height * side + left // width
    return float(times[index]) / 1000 if index < len(times) else None
