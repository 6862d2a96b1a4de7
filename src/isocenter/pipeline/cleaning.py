"""The last step of a prediction: what a plan cleans away from label maps and masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from isocenter.plan import InferenceSpec
from isocenter.postprocess.largest import keep_largest, keep_largest_values
from isocenter.records import LabelMap, LabelSchema, Masks
from isocenter.volume import Volume

__all__ = ["clean"]


def clean(labels: LabelMap | Masks, spec: InferenceSpec) -> LabelMap | Masks:
    """Labels of which only the largest connected parts are kept, as ``spec`` says: of all together, then of each.

    Args:
        labels: On any grid. A label map may have any values; a structure of several is one thing.
        spec: ``largest_together`` and ``largest_component``.

    Raises:
        LabelError: ``largest_component`` names a structure that the labels do not have.
    """
    if spec.largest_together:
        labels = _largest(labels, None, together=True)
    return _largest(labels, spec.largest_component, together=False) if spec.largest_component else labels


def _largest(labels: LabelMap | Masks, structures: Sequence[str] | None, *, together: bool) -> LabelMap | Masks:
    volume, schema = labels.read(), labels.schema
    if isinstance(labels, LabelMap):
        array = keep_largest_values(volume.array[0], schema, structures=structures, together=together)[None]
    else:
        masks = LabelSchema(schema.structures, exclusive=False)
        array = keep_largest((volume.array > 0).astype("uint8"), masks, structures=structures, together=together)
        array = array.astype(volume.array.dtype)
    kept = Volume(array, volume.grid, volume.unit)
    return replace(labels, read=lambda: kept)
