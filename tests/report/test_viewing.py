"""What a report shows stays true to the image: places, directions, values, small things."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from isocenter.records import GeometryError, LabelMap, LabelSchema, Masks
from isocenter.report.parts import Layer
from isocenter.report.planes import planes_of
from isocenter.report.tones import tones_of
from isocenter.report.viewing import bytes_on, edge_letters, is_placed, labels_on, viewing_grid
from isocenter.volume import Grid, Volume, resample

UPRIGHT = Grid.regular((12, 20, 24), spacing_mm=(3.0, 1.0, 1.0), frame="1.2.3")


def turned(*angles: float) -> Grid:
    affine = UPRIGHT.affine.copy()
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() @ affine[:3, :3]
    return Grid(UPRIGHT.shape, affine, UPRIGHT.frame)


def layer(array: np.ndarray, grid: Grid, schema: LabelSchema) -> Layer:
    volume = Volume(array, grid, "label")
    kind = LabelMap if array.ndim == 3 else Masks
    return Layer(kind(schema=schema, read=lambda: volume), volume)


@pytest.mark.parametrize("orientation", ["SPL", "IAR", "RSA", "PLI"])
def test_viewing_grid_shows_the_same_places_head_up(orientation: str) -> None:
    grid = viewing_grid(UPRIGHT.reorient(orientation))
    assert grid.orientation == "SPL"
    assert grid.is_close(UPRIGHT)


def test_large_images_are_shown_coarser_over_the_same_box() -> None:
    source = Grid.regular((300, 512, 512), spacing_mm=(1.0, 0.7, 0.7))
    grid = viewing_grid(source)
    assert grid.shape == (200, 256, 256)
    np.testing.assert_allclose(grid.center_mm, source.center_mm)
    assert viewing_grid(source, scale=0.5).shape == (100, 128, 128)
    flat = viewing_grid(Grid.regular((1, 3000, 1500), spacing_mm=(1, 0.1, 0.1)))
    assert flat.shape == (1, 1024, 512)


def test_a_tilted_gantry_is_shown_upright() -> None:
    affine = UPRIGHT.affine.copy()
    affine[1, 0] = 1.0
    grid = viewing_grid(Grid(UPRIGHT.shape, affine))
    np.testing.assert_allclose(grid.directions, UPRIGHT.directions, atol=1e-9)
    assert grid.spacing_mm == pytest.approx(UPRIGHT.spacing_mm)
    assert grid.shape[1] == UPRIGHT.shape[1] + 11  # rows that the tilt adds


@pytest.mark.parametrize("angles", [(0, 0, 0), (8, -5, 3), (90, 0, 0), (10, 95, -4)])
def test_edge_letters_agree_with_nibabel(angles: tuple[float, float, float]) -> None:
    grid = turned(*angles)
    ras = np.diag([-1.0, -1, 1, 1]) @ grid.affine
    high = [pair[1] for pair in edge_letters(grid)]
    assert high == list(nib.aff2axcodes(ras))


def test_oblique_axes_get_two_letters_and_say_so() -> None:
    grid = turned(0, 0, 30)  # columns turn from the left towards the back
    assert edge_letters(grid)[2] == ("RA", "LP")
    assert planes_of(grid)[0].title == "Axial (oblique)"
    assert planes_of(UPRIGHT)[0].title == "Axial"


def test_planes_are_radiological() -> None:
    axial, coronal, sagittal = planes_of(UPRIGHT)
    assert axial.edges == ("R", "L", "A", "P")
    assert coronal.edges == ("R", "L", "S", "I")
    assert sagittal.edges == ("A", "P", "S", "I")


def test_a_single_image_has_one_plane_and_letters_only_where_it_states_a_frame() -> None:
    photo = Grid.regular((1, 30, 40), spacing_mm=(1, 1, 1))
    assert not is_placed(photo)
    assert [(p.title, p.edges) for p in planes_of(viewing_grid(photo))] == [("Image", ("", "", "", ""))]
    sagittal = Grid.regular((30, 40, 1), spacing_mm=(1, 1, 5), frame="1.2")
    assert [p.key for p in planes_of(viewing_grid(sagittal))] == ["sagittal"]


def test_slabs_give_the_same_bytes_as_the_whole_image() -> None:
    source = Grid.regular((70, 60, 60), spacing_mm=(1.0, 1.0, 1.0))
    ct = Volume(np.random.default_rng(0).normal(0, 300, source.shape).astype(np.int16), source, "HU")
    grid = source.respaced((1.7, 2.3, 2.3))
    tones = tones_of(ct)
    whole = tones.encode(resample(ct, grid, fill=-1024).array)
    np.testing.assert_array_equal(bytes_on(ct, grid, tones), whole)


def test_images_and_labels_of_another_frame_are_refused() -> None:
    other = Volume(np.zeros((4, 4, 4), np.uint8), Grid.regular((4, 4, 4), spacing_mm=(1, 1, 1), frame="9.9"), "label")
    with pytest.raises(GeometryError, match="different frames"):
        bytes_on(other, UPRIGHT, tones_of(other))
    with pytest.raises(GeometryError, match="different frames"):
        labels_on(layer(other.array[0], other.grid, LabelSchema.of({"a": 1})), UPRIGHT)


def test_a_small_part_survives_a_coarser_grid() -> None:
    source = Grid.regular((40, 40, 40), spacing_mm=(1, 1, 1))
    array = np.zeros(source.shape, np.uint8)
    array[5:30, 5:30, 5:30] = 1
    array[33, 35, 37] = 2
    grid = source.respaced((4, 4, 4))
    (view,) = labels_on(layer(array, source, LabelSchema.of({"organ": 1, "lesion": 2})), grid)
    at = np.argwhere(view.array == 2)
    assert len(at) == 1
    assert np.abs(grid.to_world(at[0].astype(float)) - source.to_world([33, 35, 37])).max() <= 2
    assert np.count_nonzero(view.array == 1) == pytest.approx(25**3 / 64, rel=0.2)


def test_overlapping_masks_share_bytes_bit_by_bit() -> None:
    rng = np.random.default_rng(1)
    masks = rng.random((10, *UPRIGHT.shape)) > 0.5
    schema = LabelSchema.of({f"s{i}": i + 1 for i in range(10)}, exclusive=False)
    views = labels_on(layer(masks, UPRIGHT, schema), UPRIGHT)
    shown = [member[view.array] for view in views for member in view.member]
    assert len(views) == 2
    np.testing.assert_array_equal(shown, masks)


def test_regions_and_exclusive_structures_show_what_the_label_map_says() -> None:
    array = np.random.default_rng(2).integers(0, 4, UPRIGHT.shape).astype(np.uint8)
    for schema in (LabelSchema.of({"a": 2, "b": (1, 3)}), LabelSchema.of({"whole": (1, 2), "core": 2})):
        (view,) = labels_on(layer(array, UPRIGHT, schema), UPRIGHT)
        for structure, member in zip(schema.structures, view.member, strict=True):
            np.testing.assert_array_equal(member[view.array], np.isin(array, structure.values))
