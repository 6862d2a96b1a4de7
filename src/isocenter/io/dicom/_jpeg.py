"""JPEG in DICOM, lossy or lossless, 8 to 16 bits, through libjpeg-turbo (PS3.5 A.4.1; ITU-T T.81)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isocenter.errors import FileFormatError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["JPEG_SYNTAXES", "decode_jpeg"]

JPEG_SYNTAXES = frozenset(
    {
        "1.2.840.10008.1.2.4.50",  # baseline, 8 bits
        "1.2.840.10008.1.2.4.51",  # extended, 8 or 12 bits
        "1.2.840.10008.1.2.4.57",  # lossless
        "1.2.840.10008.1.2.4.70",  # lossless, first-order prediction: what most archives use
    }
)
_END = b"\xff\xd9"


def decode_jpeg(pixel_data: bytes, *, file: str) -> NDArray[Any]:
    """The only frame of encapsulated pixel data as stored pixels.

    Args:
        pixel_data: Value of Pixel Data (7FE0,0010).
        file: For messages.

    Raises:
        FileFormatError: The data end early. (What the decoder itself cannot read, it says with errors of its own.)
    """
    from imagecodecs import jpeg8_decode
    from pydicom.encaps import get_frame

    frame = get_frame(pixel_data, 0, number_of_frames=1)
    # the decoder would fill what is missing with grey
    if not frame.rstrip(b"\0").endswith(_END):
        raise FileFormatError(f"{file}: the JPEG data of its pixels end early; send or export it again")
    pixels: NDArray[Any] = jpeg8_decode(frame)
    return pixels
