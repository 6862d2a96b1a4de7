"""Files that the profile cannot make safe by their attributes alone: they are held back, with the reason.

What is burned into pixels is found by what the file says of itself, never by looking at the pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["REASONS", "face_risk", "held_reason", "pixel_reason"]

REASONS = {
    "burned-in": "says that names are burned into its pixels (BurnedInAnnotation or RecognizableVisualFeatures is YES)",
    "secondary-capture": "secondary capture, screenshot or digitised film: text may be burned in",
    "ultrasound": "ultrasound image: text is usually burned in",
    "photograph": "photograph, video or label of a slide: may show a person or a name",
    "report-image": "image of a report, a dose sheet or a screen",
    "colour": "colour image of a modality that makes grey ones: probably a screenshot",
    "overlay-bits": "overlay within unused bits of the pixels, which are copied as they are",
    "pixel-comment": "an identifier of the patient stands in the pixel data",
    "document": "encapsulated document: the standard has it replaced as a whole",
    "structured-report": "structured report: the Clean Structured Content Option is not implemented",
    "voice": "sound recording: a voice can be recognised",
    "private-class": "private SOP class: the standard defines no de-identification of it",
    "unlisted-patient": "its Patient ID is not in the table of pseudonyms",
    "duplicate": "another file has the same SOP Instance UID",
    "too-large": "its attributes, without pixels, are larger than the limit",
    "damaged": "damaged DICOM file",
}
"""What is said of a file that is held back, by code."""

_IMAGES = "1.2.840.10008.5.1.4.1.1."
_CLASSES = {
    "secondary-capture": (_IMAGES + "7",),
    "ultrasound": (_IMAGES + "6", _IMAGES + "3"),
    "photograph": tuple(_IMAGES + f"77.1.{n}" for n in ("1", "2.1", "4", "5", "7")),
    "document": (_IMAGES + "104",),
    "structured-report": (_IMAGES + "88", _IMAGES + "79"),
    "voice": (_IMAGES + "9.4",),
}
_MODALITIES = {
    **dict.fromkeys(("US", "IVUS", "BDUS"), "ultrasound"),
    **dict.fromkeys(("XC", "ES", "GM", "OP", "DMS", "LP", "LS", "TG", "STAIN"), "photograph"),
    **dict.fromkeys(("OT", "HC", "DF", "FILM", "DG"), "secondary-capture"),
    "DOC": "document",
    **dict.fromkeys(("SR", "KO"), "structured-report"),
    "AU": "voice",
}
_REPORT_TYPES = {"CSA REPORT", "REPORT", "DOSE_INFO", "DOSE INFO", "SCREEN SAVE", "SCREENSAVE", "SCREENSHOT", "CAPTURE"}
_REPORT_TYPES |= {"SCREEN_CAPTURE", "SECONDARY CAPTURE", "PATIENT PROTOCOL", "PROTOCOL"}
_REPORT_WORDS: tuple[str, ...] = (
    "dose report",
    "dose info",
    "dose sheet",
    "patient protocol",
    "screen save",
    "screensave",
    "screenshot",
)
_REPORT_WORDS += ("screen capture", "scanned doc", "exam summary", "exam protocol")
_GREY = {"CT", "MR", "PT", "NM", "CR", "DX", "MG", "RTDOSE"}
_HEAD: tuple[str, ...] = (
    "head",
    "brain",
    "skull",
    "face",
    "facial",
    "neuro",
    "cranium",
    "orbit",
    "sinus",
    "neck",
    "whole body",
)
_HEAD += ("wholebody", "kopf", "schädel", "tete", "tête")


@dataclass(frozen=True)
class _Said:
    """What a file says of itself, as plain upper-case strings."""

    sop_class: str
    modality: str
    types: frozenset[str]
    photometric: str

    @classmethod
    def of(cls, dataset: Dataset) -> _Said:
        types = dataset.get("ImageType") or ()
        listed = [types] if isinstance(types, str) else types
        return cls(
            str(dataset.get("SOPClassUID", "")).strip(),
            _text(dataset, "Modality"),
            frozenset(str(t).strip().upper() for t in listed),
            _text(dataset, "PhotometricInterpretation"),
        )


def _text(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()


def held_reason(dataset: Dataset) -> str | None:
    """Code of `REASONS` why a file cannot be made safe whatever is asked for; ``None`` where it can."""
    said = _Said.of(dataset)
    if not said.sop_class.startswith("1.2.840.10008."):
        return "private-class"
    if "EncapsulatedDocument" in dataset:
        return "document"
    found = _by_class(said.sop_class) or _MODALITIES.get(said.modality)
    if found in ("document", "structured-report", "voice"):
        return found
    return None


def pixel_reason(dataset: Dataset) -> str | None:
    """Code of `REASONS` why the pixels may show who the patient is; ``None`` where nothing says so.

    A file that says NO in Burned In Annotation (0028,0301) is not believed where its kind speaks against it.
    """
    said = _Said.of(dataset)
    if "YES" in (_text(dataset, "BurnedInAnnotation"), _text(dataset, "RecognizableVisualFeatures")):
        return "burned-in"
    if "Rows" not in dataset:
        return None
    found = _by_class(said.sop_class) or _MODALITIES.get(said.modality)
    if found:
        return found
    if _text(dataset, "ConversionType"):
        return "secondary-capture"
    if said.types & {"LABEL", "OVERVIEW"} or _text(dataset, "SpecimenLabelInImage") == "YES":
        return "photograph"
    if said.types & _REPORT_TYPES or _mentions(dataset, _REPORT_WORDS):
        return "report-image"
    if said.modality in _GREY and said.photometric not in ("", "MONOCHROME1", "MONOCHROME2"):
        return "colour"
    return "overlay-bits" if _overlay_in_pixels(dataset) else None


def _by_class(sop_class: str) -> str | None:
    for reason, classes in _CLASSES.items():
        if any(sop_class == c or sop_class.startswith(c + ".") for c in classes):
            return reason
    return None


def _overlay_in_pixels(dataset: Dataset) -> bool:
    for group in range(0x6000, 0x6020, 2):
        element = dataset.get((group, 0x0102))  # Overlay Bit Position
        if element is not None and element.value not in (0, None, "") and (group, 0x3000) not in dataset:
            return True
    return False


def face_risk(dataset: Dataset) -> bool:
    """Whether a face might be drawn from the volume: CT, MR or PET of the head, by what its descriptions say."""
    if _text(dataset, "Modality") not in ("CT", "MR", "PT"):
        return False
    return _mentions(dataset, _HEAD)


def _mentions(dataset: Dataset, words: tuple[str, ...]) -> bool:
    keywords = ("BodyPartExamined", "SeriesDescription", "StudyDescription", "ProtocolName")
    said = " ".join(str(dataset.get(k) or "") for k in keywords).casefold().replace("_", " ")
    return any(word in said for word in words)
