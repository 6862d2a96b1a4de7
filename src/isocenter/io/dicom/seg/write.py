"""Masks, label maps and probabilities to a DICOM Segmentation on their source series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from isocenter.errors import ConfigError, SeriesError
from isocenter.io.dicom.codes import category_of, type_of
from isocenter.io.dicom.seg.encode import LEVELS, Encoded, Kind, encode
from isocenter.io.dicom.seg.groups import frame_groups, set_references, shared_groups, stub_of
from isocenter.io.dicom.seg.source import Source, matched, reindexed, source_stacks
from isocenter.io.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from isocenter.io.dicom.stack import Stack
    from isocenter.records import LabelSchema, Structure
    from isocenter.volume import Volume

__all__ = ["reindexed", "write_seg"]

_MANUFACTURER = "Isocenter"
_KINDS: dict[str, Kind] = {"binary": "binary", "fractional": "fractional", "labelmap": "labelmap"}
_EXPLICIT, _RLE = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.5"


def write_seg(  # noqa: PLR0913 all but the first four say how, by name
    path: str | Path,
    masks: Volume | NDArray[Any],
    schema: LabelSchema,
    source: Stack | Sequence[str | Path],
    *,
    algorithm_name: str,
    algorithm_version: str,
    series_description: str = "Segmentation",
    manual: bool = False,
    kind: Kind = "binary",
) -> None:
    """Write masks, a label map or probabilities as a DICOM Segmentation that refers to the series they are of.

    A structure without voxels stays in the object as a segment without frames, so that "looked for and not found"
    can be told from "not looked for". Patient, study and frame of reference are those of the source. Each frame states
    its own place, so sources with gantry tilt are exact; so are those with varying slice spacing, whose masks are
    given as an array.

    Args:
        path: The ``.dcm`` file; appears whole or not at all.
        masks: ``(structure, slice, row, column)`` bool or 0/1 in the order of ``schema``, or one channel of encoded
            values (0 background, ``k`` the k-th structure) for an exclusive schema, as `LabelSchema.encode` gives;
            255 (not annotated) is left out. For ``kind="fractional"`` floating-point probabilities in 0..1, one
            channel a structure. As a Volume: on the voxels of the source, or of the source as a `GeometryPolicy`
            resamples it, its axes in any order and direction. As an array: slice by slice in the order of a `Stack`,
            which then may have any spacing.
        schema: Names, codes and colours of the structures.
        source: The stack, or the files of the source series in any order.
        algorithm_name: What drew them, e.g. the model's name.
        algorithm_version: Its version.
        series_description: Shown by viewers.
        manual: A person drew them, or they are known truth: no algorithm is named.
        kind: ``"binary"``: one bit a voxel and structure, which may overlap; every program reads it. ``"labelmap"``:
            the number of its structure a voxel, RLE-compressed; small and quick, and young (2024): older programs do
            not know it. ``"fractional"``: probabilities in steps of 1/255, RLE-compressed.

    Raises:
        GeometryError: The masks are not on the voxels of the source, or the source is not one regular volume.
        SeriesError: The source files are not one readable series.
        LabelError: Channels or values do not fit the schema or the kind.
        ConfigError: The place cannot be written to, or there is no such kind.

    Example:
        >>> import tempfile
        >>> from pydicom.data import get_testdata_file
        >>> from isocenter.io.dicom import find_series, read_seg
        >>> from isocenter.records import LabelSchema
        >>> from isocenter.volume import Volume
        >>> (series,) = find_series(get_testdata_file("CT_small.dcm"))
        >>> ct = series.stack().volume()
        >>> bone = Volume(ct.array > 200, ct.grid, "label")
        >>> path = tempfile.mkdtemp() + "/bone.dcm"
        >>> schema = LabelSchema.of({"bone": 1})
        >>> write_seg(path, bone, schema, series.stack(), algorithm_name="threshold", algorithm_version="1")
        >>> masks, schema, source = read_seg(path, grid=ct.grid)
        >>> schema.names, source == series.uid, bool((masks.array == bone.array).all())
        (('bone',), True, True)
    """
    if kind not in _KINDS:
        raise ConfigError(f"kind {kind!r} of segmentation is not known; there are {', '.join(_KINDS)}")
    array, drawn_on = matched(masks, source_stacks(source))
    encoded = encode(array, schema, kind)
    algorithm = None if manual else (algorithm_name, algorithm_version)
    try:
        segmentation = _head(drawn_on, schema, algorithm, series_description, kind)
        _fill(segmentation, drawn_on, encoded, kind)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # only an AttributeError is sure to quote no value of the source
        why = str(error) if isinstance(error, AttributeError) else type(error).__name__
        raise SeriesError(
            f"series {drawn_on.stack.uid}: a segmentation cannot refer to it ({why}); export it again"
        ) from error
    with atomic_path(path) as part:
        segmentation.save_as(part)


def _head(
    source: Source, schema: LabelSchema, algorithm: tuple[str, str] | None, description: str, kind: Kind
) -> Dataset:
    """The object by highdicom with a single frame of one pixel; it would hold all frames in memory several times."""
    import highdicom as hd
    import numpy as np

    from isocenter import __version__

    image, where = stub_of(source)
    head: Dataset = hd.seg.Segmentation(
        source_images=[image],
        pixel_array=np.zeros((1, 1, 1), np.uint8),
        segmentation_type=kind.upper(),
        segment_descriptions=[_segment(k, s, algorithm) for k, s in enumerate(schema.structures, start=1)],
        series_instance_uid=hd.UID(),
        series_number=300,
        sop_instance_uid=hd.UID(),
        instance_number=1,
        manufacturer=_MANUFACTURER,
        manufacturer_model_name=_MANUFACTURER,
        software_versions=__version__,
        device_serial_number="0",
        series_description=description[:64],
        content_label="SEGMENTATION",
        max_fractional_value=LEVELS,
        transfer_syntax_uid=_EXPLICIT if kind == "binary" else _RLE,
        omit_empty_frames=False,
        **where,
    )
    return head


def _fill(segmentation: Dataset, source: Source, encoded: Encoded, kind: Kind) -> None:
    """Put the frames into the object."""
    from pydicom.dataelem import DataElement

    segmentation.Rows, segmentation.Columns = source.planes.shape
    segmentation.NumberOfFrames = len(encoded.frames)
    segmentation.SegmentsOverlap = encoded.overlap
    segmentation.ContentCreatorName = ""  # of type 2; a program drew it, or the person is not ours to name
    segmentation.SharedFunctionalGroupsSequence = [shared_groups(source)]
    segmentation.PerFrameFunctionalGroupsSequence = frame_groups(source, encoded.frames)
    set_references(segmentation, source)
    pixels = DataElement("PixelData", "OB", encoded.pixels)
    pixels.is_undefined_length = kind != "binary"
    segmentation["PixelData"] = pixels


def _segment(number: int, structure: Structure, algorithm: tuple[str, str] | None) -> Any:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    identification = None
    if algorithm:
        name, version = algorithm
        identification = hd.AlgorithmIdentificationSequence(
            name=name[:64], version=version[:64], family=codes.DCM.ArtificialIntelligence
        )
    colour = structure.colour
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=structure.name[:64],
        segmented_property_category=_coded(category_of(structure)),
        segmented_property_type=_coded(type_of(structure)),
        algorithm_type="AUTOMATIC" if algorithm else "MANUAL",
        algorithm_identification=identification,
        tracking_uid=hd.UID(),
        tracking_id=structure.name[:64],
        display_color=None if colour is None else hd.color.CIELabColor.from_rgb(*colour),
    )


def _coded(code: Any) -> Any:
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)
