"""Cases: which annotation and which image are found."""

from __future__ import annotations

import numpy as np
import pytest

from isocenter.errors import DatasetError
from isocenter.records import Case, ClassLabel, ImageRef, LabelMap, LabelSchema, Masks, Scalar
from isocenter.volume import Grid, Volume

SCHEMA = LabelSchema.of({"liver": 1})
VOLUME = Volume(np.zeros((2, 3, 4), np.uint8), Grid.regular((2, 3, 4), spacing_mm=(1, 1, 1)), "label")


def label(source: str, **named) -> LabelMap:
    return LabelMap(schema=SCHEMA, read=lambda: VOLUME, source=source, **named)


CASE = Case(
    "a",
    "p",
    {},
    (
        ClassLabel(classes=("x", "y"), values=("x",)),
        label("on the mr", image="mr"),
        label("on the ct", image="ct"),
        label("second on the ct", image="ct"),
        label("of the whole case"),
        label("scribble on the ct", name="scribble", image="ct"),
        Masks(schema=SCHEMA, read=lambda: VOLUME, source="masks", image="pet"),
    ),
)


@pytest.mark.parametrize(
    ("kind", "query", "source"),
    [
        (LabelMap, {"image": "ct"}, "on the ct"),
        (LabelMap, {"image": "mr"}, "on the mr"),
        (LabelMap, {}, "of the whole case"),
        (LabelMap, {"image": "pet"}, "on the mr"),
        (LabelMap, {"name": "scribble", "image": "ct"}, "scribble on the ct"),
        (LabelMap, {"name": "scribble", "image": "mr"}, "scribble on the ct"),
        (Masks, {"image": "ct"}, "masks"),
        (LabelMap, {"name": "third"}, None),
        (Scalar, {}, None),
    ],
)
def test_find_prefers_the_annotation_on_the_image(kind, query, source) -> None:
    found = CASE.find(kind, **query)
    assert (found and found.source) == source
    assert found is None or isinstance(found, kind)


def test_images_are_found_by_name_or_the_case_says_which_it_has() -> None:
    ref = ImageRef(
        "ct", "memory", lambda region, level: VOLUME.crop(*region) if region else VOLUME, lambda: VOLUME.grid
    )
    case = Case("case-7", "p", {"ct": ref})
    assert case.image("ct").read() is VOLUME
    assert case.image("ct").read(((0, 0, 0), (1, 2, 2))).grid.shape == (1, 2, 2)
    with pytest.raises(DatasetError, match=r"case case-7: image 'pet' is missing.*ct"):
        case.image("pet")
    with pytest.raises(DatasetError, match="has: none"):
        Case("b", "p", {}).image("ct")


def test_reading_passes_region_and_level_on() -> None:
    asked = []
    ref = ImageRef(
        "slide", "memory", lambda region, level: asked.append((region, level)) or VOLUME, lambda: VOLUME.grid
    )
    ref.read()
    ref.read(((0, 0, 0), (1, 1, 1)), level=2)
    assert asked == [(None, 0), (((0, 0, 0), (1, 1, 1)), 2)]
