"""UIDs: which stand for something of this patient, and what a new one looks like."""

from __future__ import annotations

import re
from uuid import UUID

__all__ = ["is_structural", "is_uid", "uid_of", "well_known"]

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_MAX_LENGTH = 64
# what a UID of these names is defined once for all: a class of objects, an encoding, a scheme of codes
_STRUCTURAL_ENDS = ("ClassUID", "ClassesInStudy", "ClassesInSeries", "ClassesSupported", "TransferSyntaxUID")
_STRUCTURAL = {
    "AvailableTransferSyntaxUID",
    "CodingSchemeUID",
    "ContextUID",
    "CreatorVersionUID",
    "MappingResourceUID",
    "RelatedGeneralSOPClassUID",
    "SegmentationTemplateUID",
}


def uid_of(digest: bytes) -> str:
    """UID of the arc 2.25 (ISO/IEC 9834-8) from 16 bytes as a UUID of version 8 (RFC 9562).

    Example:
        >>> uid_of(bytes(16))
        '2.25.604472133179351442128896'
    """
    value = int.from_bytes(digest[:16], "big")
    value = (value & ~(0xF << 76)) | (8 << 76)  # version
    value = (value & ~(0b11 << 62)) | (0b10 << 62)  # variant
    return f"2.25.{UUID(int=value).int}"


def is_uid(value: str) -> bool:
    """Whether it has the form of a UID.

    Example:
        >>> is_uid("1.2.840.10008.1.2"), is_uid("../../etc"), is_uid("")
        (True, False, False)
    """
    return len(value) <= _MAX_LENGTH and _UID.fullmatch(value) is not None


def well_known(value: str) -> bool:
    """Whether PS3.6 registers the UID: it tells nothing of a patient, whatever attribute it stands in."""
    from pydicom.uid import UID

    return bool(UID(value).type)


def is_structural(keyword: str) -> bool:
    """Whether UIDs of this attribute are defined by standards and vendors, not by an examination.

    Example:
        >>> is_structural("ReferencedSOPClassUID"), is_structural("ReferencedSOPInstanceUID")
        (True, False)
    """
    return keyword.endswith(_STRUCTURAL_ENDS) or keyword in _STRUCTURAL
