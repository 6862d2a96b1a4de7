"""What a plan cleans away, on label maps with any values and on masks."""

from __future__ import annotations

import numpy as np
import pytest

from isocenter.errors import LabelError
from isocenter.pipeline.cleaning import clean
from isocenter.plan import InferenceSpec
from isocenter.records import LabelMap, LabelSchema, Masks
from isocenter.volume import Grid, Volume

ROW = np.array([[[1, 2, 2, 0, 2, 0, 1, 1]]])
GRID = Grid.regular(ROW.shape, spacing_mm=(1, 1, 1))


def label_map(values: tuple[int, int], dtype: str = "uint8") -> LabelMap:
    """A map in which the structures ``a`` and ``b`` have these values."""
    volume = Volume(np.array([0, *values])[ROW].astype(dtype)[None], GRID, "label")
    return LabelMap(schema=LabelSchema.of({"a": values[0], "b": values[1]}), image="ct", read=lambda: volume)


def found(labels: LabelMap | Masks, spec: InferenceSpec) -> list[int]:
    out = clean(labels, spec).read()
    assert out.grid == GRID
    assert out.unit == "label"
    assert out.array.dtype == labels.read().array.dtype
    return out.array[:, 0, 0].tolist()


@pytest.mark.parametrize(("a", "b"), [(1, 2), (2, 1), (9, 4), (200, 3)])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32"])
def test_values_are_those_of_the_schema(a: int, b: int, dtype: str) -> None:
    labels = label_map((a, b), dtype)
    assert found(labels, InferenceSpec()) == [[a, b, b, 0, b, 0, a, a]]
    assert found(labels, InferenceSpec(largest_component=("a",))) == [[0, b, b, 0, b, 0, a, a]]
    assert found(labels, InferenceSpec(largest_component=("b", "a"))) == [[0, b, b, 0, 0, 0, a, a]]
    assert found(labels, InferenceSpec(largest_together=True)) == [[a, b, b, 0, 0, 0, 0, 0]]
    assert clean(labels, InferenceSpec()) is labels


def test_together_comes_first() -> None:
    assert found(label_map((1, 2)), InferenceSpec(largest_together=True, largest_component=("a",))) == [
        [1, 2, 2, 0, 0, 0, 0, 0]
    ]


def test_a_structure_of_several_values_is_one_thing() -> None:
    volume = Volume(np.array([[[[3, 5, 0, 3, 3, 0, 5]]]], np.int16), GRID.crop((0, 0, 0), (1, 1, 7)), "label")
    whole = LabelMap(schema=LabelSchema.of({"whole": (3, 5)}), image="ct", read=lambda: volume)
    assert clean(whole, InferenceSpec(largest_component=("whole",))).read().array.ravel().tolist() == [
        3,
        5,
        0,
        0,
        0,
        0,
        0,
    ]


@pytest.mark.parametrize("dtype", [bool, np.uint8])
@pytest.mark.parametrize("exclusive", [True, False])
def test_masks_are_cleaned_one_by_one_or_together(dtype: type, exclusive: bool) -> None:
    masks = np.array([[[[1, 1, 0, 1]]], [[[0, 1, 0, 1]]]], dtype)
    volume = Volume(masks, Grid.regular((1, 1, 4), spacing_mm=(1, 1, 1)), "label")
    schema = LabelSchema(LabelSchema.of({"whole": 1, "core": 2}).structures, exclusive=exclusive)
    labels = Masks(schema=schema, image="ct", read=lambda: volume)

    def kept(**spec) -> list[list[int]]:
        return clean(labels, InferenceSpec(**spec)).read().array[:, 0, 0].astype(int).tolist()

    assert kept(largest_component=("whole",)) == [[1, 1, 0, 0], [0, 1, 0, 1]]
    assert kept(largest_component=("whole", "core")) == [[1, 1, 0, 0], [0, 1, 0, 0]]
    assert kept(largest_together=True) == [[1, 1, 0, 0], [0, 1, 0, 0]]
    assert volume.array[1, 0, 0].astype(int).tolist() == [0, 1, 0, 1]


def test_a_structure_that_the_labels_lack_is_named() -> None:
    with pytest.raises(LabelError, match="no structure 'spleen'"):
        clean(label_map((1, 2)), InferenceSpec(largest_component=("spleen",)))
