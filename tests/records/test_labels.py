"""Schemas: which values mean which structure, and which structures are each other's mirror image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isocenter.errors import LabelError
from isocenter.records import IGNORE, LabelSchema, Structure

names = st.text("abcdefgh_", min_size=1, max_size=6).filter(lambda n: n not in ("ignore", "background"))


@st.composite
def exclusive_schemas(draw: st.DrawFn) -> LabelSchema:
    found = draw(st.lists(names, min_size=1, max_size=6, unique=True))
    values = draw(st.lists(st.integers(1, 300), min_size=len(found) + 1, max_size=len(found) + 1, unique=True))
    labels = {name: [value] for name, value in zip(found, values, strict=False)}
    extra = draw(st.sampled_from(found))  # a region of two values
    labels[extra].append(max(values) + 1)
    return LabelSchema.of(labels, ignore=draw(st.sampled_from([None, values[-1]])))


def drawn(schema: LabelSchema, seed: int = 0, shape=(3, 4, 5)) -> np.ndarray:
    values = [0, *schema.values, *([] if schema.ignore is None else [schema.ignore])]
    return np.random.default_rng(seed).choice(values, shape)


@given(exclusive_schemas(), st.integers(0, 1000))
def test_exclusive_labels_are_numbered_in_order(schema: LabelSchema, seed: int) -> None:
    assert schema.exclusive
    label_map = drawn(schema, seed)
    encoded = schema.encode(label_map)
    assert encoded.dtype == np.uint8
    assert encoded.shape == (1, *label_map.shape)
    for place in np.ndindex(label_map.shape):
        value = label_map[place]
        owner = next((k for k, s in enumerate(schema.structures, 1) if value in s.values), 0)
        assert encoded[0][place] == (IGNORE if value == schema.ignore else owner)


@given(exclusive_schemas(), st.integers(0, 1000), st.booleans())
def test_masks_give_back_what_was_encoded(schema: LabelSchema, seed: int, exclusive: bool) -> None:
    schema = LabelSchema(schema.structures, exclusive, schema.ignore)
    label_map = drawn(schema, seed)
    masks = schema.masks(schema.encode(label_map))
    assert masks.dtype == bool
    assert masks.shape == (len(schema), *label_map.shape)
    for mask, structure in zip(masks, schema.structures, strict=True):
        np.testing.assert_array_equal(mask, np.isin(label_map, structure.values))


def test_regions_overlap_and_are_encoded_apart() -> None:
    schema = LabelSchema.of({"background": 0, "whole": (1, 2, 3), "core": [2, 3], "enhancing": 3, "ignore": 9})
    assert not schema.exclusive
    assert schema.ignore == 9
    encoded = schema.encode(np.array([0, 1, 2, 3, 9]))
    assert encoded.tolist() == [[0, 1, 1, 1, IGNORE], [0, 0, 1, 1, IGNORE], [0, 0, 0, 1, IGNORE]]
    assert not schema.masks(encoded)[:, 4].any()


def test_a_schema_is_read_as_dataset_json_states_it() -> None:
    schema = LabelSchema.of({"background": 0, "Heart": np.int64(4), "aorta": np.array([2, 7]), "IGNORE": 255})
    assert schema.names == ("Heart", "aorta")
    assert schema.values == {2, 4, 7}
    assert schema.exclusive
    assert schema.ignore == 255
    assert schema["aorta"].values == (2, 7)
    assert len(schema) == 2
    assert LabelSchema.of({"a": 1, "ignore": 5}, ignore=7).ignore == 7


@given(st.sampled_from([np.uint8, np.int16, np.int64, np.float32]), st.sampled_from([4, 77, 200]))
def test_undeclared_values_are_named_with_those_that_are_declared(kind, value: int) -> None:
    schema = LabelSchema.of({"a": 1, "b": (2, 3)}, ignore=9)
    label_map = np.array([[0, 1, 2], [3, 9, value]]).astype(kind)
    assert schema.undeclared(label_map) == [value]
    assert schema.undeclared(label_map[:1]) == []
    with pytest.raises(LabelError, match=f"value {value} .*0, 1, 2, 3"):
        schema.encode(label_map)


@pytest.mark.parametrize("value", [1.5, -1.0, float("nan"), float("inf")])
def test_values_that_are_no_numbers_of_a_structure_are_not_taken_for_background(value: float) -> None:
    with pytest.raises(LabelError, match="is not declared"):
        LabelSchema.of({"a": 1}).encode(np.array([0.0, 1.0, value]))


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        ({"lung_left": 1, "lung_right": 2}, {("lung_left", "lung_right")}),
        ({"Left lung": 1, "heart": 2, "Right lung": 3}, {("Left lung", "Right lung")}),
        ({"KIDNEY_LEFT": 1, "KIDNEY_RIGHT": 2}, {("KIDNEY_LEFT", "KIDNEY_RIGHT")}),
        ({"lung_left": 1, "heart": 2}, set()),
        ({"left_ventricle": 1, "right_ventricle": 2, "left_atrium": 3, "right_atrium": 4}, set()),
        ({"coronary_left": 1, "coronary_right": 2}, set()),
        ({"left_lateral_ventricle": 1, "right_lateral_ventricle": 2},
         {("left_lateral_ventricle", "right_lateral_ventricle")}),
        ({"cerebral_ventricle_left": 1, "cerebral_ventricle_right": 2},
         {("cerebral_ventricle_left", "cerebral_ventricle_right")}),
        ({"LV": 1, "RV": 2, "MYO": 3}, set()),
    ],
)  # fmt: skip
def test_mirror_partners(labels: dict[str, int], pairs: set[tuple[str, str]]) -> None:
    schema = LabelSchema.of(labels)
    found = {(s.name, s.mirror) for s in schema.structures if s.mirror}
    assert found == pairs | {(b, a) for a, b in pairs}
    order = schema.mirror_order
    assert sorted(order) == list(range(len(schema)))
    assert [order[k] for k in order] == list(range(len(schema)))
    for k, structure in enumerate(schema.structures):
        assert schema.names[order[k]] == (structure.mirror or structure.name)


@pytest.mark.parametrize(
    ("structures", "settings", "says"),
    [
        ((Structure("a", (1,)), Structure("a", (2,))), {}, "not unique"),
        ((Structure("a", (1, 2)), Structure("b", (2,))), {}, "exclusive=False"),
        ((Structure("a", (1,)), Structure("b", (0, 2))), {}, "background"),
        ((Structure("a", (1,)),), {"ignore": 1}, "ignore value 1"),
        ((Structure("a", (1,), mirror="b"),), {}, "'b'.*not in the schema"),
        ((Structure("a", (1,), mirror="b"), Structure("b", (2,))), {}, "not the reverse"),
        (tuple(Structure(f"s{k}", (k,)) for k in range(1, 255)), {}, "254 structures"),
    ],
)
def test_contradictions_are_refused(structures, settings, says: str) -> None:
    with pytest.raises(LabelError, match=says):
        LabelSchema(structures, **settings)


def test_as_many_structures_as_a_byte_holds_beside_background_and_ignore() -> None:
    schema = LabelSchema(tuple(Structure(f"s{k}", (k,)) for k in range(1, 254)))
    label_map = np.arange(254)
    np.testing.assert_array_equal(schema.encode(label_map)[0], label_map)


def test_an_unknown_structure_is_named_with_those_there_are() -> None:
    with pytest.raises(LabelError, match=r"'spleen'.*liver, kidney"):
        LabelSchema.of({"liver": 1, "kidney": 2})["spleen"]
