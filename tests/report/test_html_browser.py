"""The page as a person meets it: in headless Chromium, with mouse, wheel and keys."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from isocenter.records import Boxes, Case, ClassLabel, LabelSchema, Prediction
from isocenter.report import findings_of, write_report
from isocenter.volume import Grid, Volume

AXIAL, CORONAL, SAGITTAL = ".axial canvas", ".coronal canvas", ".sagittal canvas"
BALL_MM = np.array([50.0, -40.0, 30.0])


@pytest.fixture
def chest(open_page: Callable[..., Any], chest_report: Callable[..., Path]) -> Any:
    return open_page(chest_report())


def pixels(page: Any, canvas: str) -> NDArray[np.uint8]:
    """What a canvas shows, ``(row, column, 4)``."""
    page.settle()
    find = "(c => [c.width, c.height, Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)])"
    width, height, data = page.run(f"{find}(document.querySelector('{canvas}'))")
    return np.array(data, np.uint8).reshape(height, width, 4)


def caption(page: Any, plane: str) -> str:
    page.settle()
    return str(page.run(f"document.querySelector('.{plane} output').value"))


def bare(page: Any) -> None:
    """The image alone: no overlay, no crosshair, bone window, so that only the ball is bright."""
    page.click("#presets button:nth-child(3)")
    for box in ("#overlay", "#cross"):
        if page.run(f"document.querySelector('{box}').checked"):
            page.click(box)


def test_nothing_goes_wrong_and_nothing_is_asked_for(chest: Any, chest_report: Callable[..., Path]) -> None:
    for name in ("o", "c", "1", "2", "3", "Tab"):
        chest.key(name)
    chest.click(".jump")
    assert chest.console == []
    assert {r for r in chest.requests if not r.startswith("data:")} == {chest_report().as_uri()}


@pytest.mark.parametrize("orientation", ["SPL", "IAR", "RSP"])
def test_planes_show_the_patient_in_radiological_convention(
    orientation: str, open_page: Callable[..., Any], chest_report: Callable[..., Path]
) -> None:
    page = open_page(chest_report(orientation))
    letters = page.run("[...document.querySelectorAll('.edge')].map(e => e.textContent).join('')")
    assert letters == "RLAP" + "RLSI" + "APSI"
    jump = next(i for i, name in enumerate(names(page)) if name == "Ball")
    page.run(f"document.querySelectorAll('tbody tr')[{jump}].querySelector('.jump').click()")
    bare(page)
    # left is right on the screen, front is up; in the sagittal plane front is left
    for canvas, right, up in ((AXIAL, 1, 1), (CORONAL, 1, 1), (SAGITTAL, -1, 1)):
        shown = pixels(page, canvas)
        middle = np.argwhere(shown[20:-40, 20:-20, :3].min(axis=-1) > 180).mean(axis=0) + 20
        offset = middle - np.array(shown.shape[:2]) / 2
        assert np.sign(offset[1]) == right, canvas
        assert np.sign(-offset[0]) == up, canvas


def names(page: Any) -> list[str]:
    return list(
        page.run("[...document.querySelectorAll('tbody th')].map(e => e.firstChild.nextSibling.textContent.trim())")
    )


def test_lengths_are_true_in_every_plane(chest: Any) -> None:
    jump = next(i for i, name in enumerate(names(chest)) if name == "Ball")
    chest.run(f"document.querySelectorAll('tbody tr')[{jump}].querySelector('.jump').click()")
    bare(chest)
    scale = None
    for canvas in (AXIAL, CORONAL, SAGITTAL):
        shown = pixels(chest, canvas)
        scale = shown.shape[1] / 220  # the widest extent, left to right, is 110 columns of 2 mm
        white = np.argwhere(shown[20:-40, 20:-20, :3].min(axis=-1) > 128)
        height, width = np.ptp(white, axis=0) + 1
        assert width == pytest.approx(32 * scale, abs=4 * scale), canvas
        assert height == pytest.approx(32 * scale, abs=7 * scale), canvas  # slices are 5 mm


def test_windows_show_the_right_grey(chest: Any) -> None:
    for box in ("#overlay", "#cross"):
        chest.click(box)
    body_hu = 40
    for button, level, width in ((1, 40, 400), (2, -600, 1500), (3, 400, 1800)):
        chest.click(f"#presets button:nth-child({button})")
        shown = pixels(chest, AXIAL)
        grey = shown[shown.shape[0] // 2, shown.shape[1] // 2, 0]  # between the lungs
        assert grey == pytest.approx(255 * ((body_hu - level) / width + 0.5), abs=4)
        assert chest.run("document.getElementById('level').value") == str(level)
        assert chest.run("document.querySelector('#presets [aria-pressed=true]').title") == f"Key {button}"


def test_keys_wheel_slider_and_click_move_the_slices(chest: Any) -> None:
    before = pixels(chest, AXIAL)
    first = int(caption(chest, "axial").split("/")[0])
    chest.run(f"document.querySelector('{AXIAL}').focus()")
    chest.key("ArrowUp")
    assert caption(chest, "axial") == f"{first + 1} / 32"
    chest.key("PageDown")
    assert caption(chest, "axial") == f"{first - 9} / 32"
    assert (pixels(chest, AXIAL) != before).any()
    chest.key("End")
    assert caption(chest, "axial") == "32 / 32"
    chest.wheel(AXIAL, 120)
    chest.wait("document.querySelector('.axial output').value === '29 / 32'")
    chest.run("(s => { s.value = 4; s.dispatchEvent(new Event('input')); })(document.querySelector('.axial input'))")
    assert caption(chest, "axial") == "5 / 32"
    chest.click(AXIAL, 0.75, 0.25)
    # a quarter of 220 mm to the left of the middle, and to the front of it
    assert int(caption(chest, "sagittal").split("/")[0]) == pytest.approx(110 * 0.75, abs=1.5)
    assert int(caption(chest, "coronal").split("/")[0]) == pytest.approx(48 - 55 / 2, abs=1.5)


def coloured(page: Any) -> int:
    shown = pixels(page, AXIAL).astype(int)
    return int(np.count_nonzero(np.ptp(shown[..., :3], axis=-1) > 20))


def test_overlay_opacity_and_structures_can_be_switched(chest: Any) -> None:
    all_on = coloured(chest)
    assert all_on > 1000
    chest.key("o")
    assert coloured(chest) == 0
    chest.key("o")
    assert coloured(chest) == all_on
    chest.click("[data-structure='0']")
    assert 0.3 * all_on < coloured(chest) < 0.7 * all_on
    chest.run("(s => { s.value = 0; s.dispatchEvent(new Event('input')); })(document.getElementById('opacity'))")
    assert 0 < coloured(chest) < 0.2 * all_on  # the outline stays


def test_a_finding_leads_to_its_place_and_the_place_is_told(chest: Any) -> None:
    jump = next(i for i, name in enumerate(names(chest)) if name == "Ball")
    chest.run(f"document.querySelectorAll('tbody tr')[{jump}].querySelector('.jump').click()")
    chest.settle()
    told = chest.run("document.getElementById('place').value")
    place, value, name = told.split("\u2003")
    signed = [int(part.split()[1]) * (1 if part[0] in "LPS" else -1) for part in place.removesuffix(" mm").split(" · ")]
    np.testing.assert_allclose(signed, BALL_MM, atol=3)
    assert float(value.split()[1]) == pytest.approx(1000, abs=30)
    assert name == "Ball"


def test_keyboard_alone_reaches_every_control_with_visible_focus(chest: Any) -> None:
    chest.run("document.activeElement.blur()")
    reached, unseen = set(), []
    for _ in range(40):
        chest.key("Tab")
        found = chest.run(
            "(e => [e.tagName, e.id || e.className || e.dataset.structure || '', getComputedStyle(e).outlineStyle])"
            "(document.activeElement)"
        )
        reached.add(found[0])
        if found[0] != "BODY" and found[2] == "none":
            unseen.append(found)
    assert {"BUTTON", "INPUT", "CANVAS", "SUMMARY"} <= reached
    assert unseen == []


@pytest.mark.parametrize("width", [390, 768, 1280])
def test_the_page_fits_its_width(width: int, open_page: Callable[..., Any], chest_report: Callable[..., Path]) -> None:
    page = open_page(chest_report(), width=width)
    assert page.run("document.documentElement.scrollWidth") <= width
    sides = page.run("[...document.querySelectorAll('canvas')].map(c => c.clientWidth)")
    assert min(sides) >= 150
    assert page.console == []


def test_light_and_dark(open_page: Callable[..., Any], chest_report: Callable[..., Path]) -> None:
    ask = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
    light = open_page(chest_report()).run(ask)
    dark = open_page(chest_report(), dark=True).run(ask)
    assert min(light) > 200
    assert max(dark) < 60


def test_boxes_are_drawn_where_they_are(open_page: Callable[..., Any], tmp_path: Path) -> None:
    grid = Grid.regular((10, 100, 100), spacing_mm=(2, 2, 2), origin_mm=(-99, -99, -9), frame="1.2")
    ct = Volume(np.full(grid.shape, -1000, np.int16), grid, "HU")
    boxes = Boxes(
        image="ct",
        schema=LabelSchema.of({"nodule": 1}),
        corners=np.array([[2.5, 19.5, 59.5, 6.5, 39.5, 89.5]]),
        classes=np.array([0]),
        scores=np.array([0.87]),
    )
    prediction = Prediction(Case("c", "p", {}), (boxes,))
    page = open_page(write_report(tmp_path / "r.html", prediction, {"ct": ct}, findings_of(prediction, {"ct": ct})))
    page.click("#cross")
    shown = pixels(page, AXIAL).astype(int)
    size = shown.shape[0]
    rows, columns = np.nonzero(np.ptp(shown[..., :3], axis=-1) > 40)
    box = rows > 0.19 * size  # the text stands above
    assert columns[box].min() / size == pytest.approx(0.60, abs=0.01)
    assert columns[box].max() / size == pytest.approx(0.90, abs=0.01)
    assert rows.max() / size == pytest.approx(0.40, abs=0.01)
    page.click("[data-kind='0']")
    assert np.ptp(pixels(page, AXIAL)[..., :3].astype(int), axis=-1).max() == 0
    assert page.console == []


def test_a_photograph_with_classes(open_page: Callable[..., Any], tmp_path: Path) -> None:
    rgb = np.zeros((3, 1, 60, 120), np.uint8)
    rgb[0, :, :, 60:] = 250  # red on the right
    rgb[2, :, 30:, :60] = 200  # blue at the lower left
    photo = Volume(rgb, Grid.regular((1, 60, 120), spacing_mm=(1, 1, 1)))
    label = ClassLabel(name="kind", image="photo", classes=("no", "yes"), values=("yes",), probabilities=(0.2, 0.8))
    prediction = Prediction(Case("c", "p", {}), (label,))
    path = write_report(tmp_path / "r.html", prediction, {"photo": photo}, findings_of(prediction))
    page = open_page(path, width=390)
    shown = pixels(page, AXIAL)
    height, width = shown.shape[:2]
    assert width / height == pytest.approx(2, rel=0.02)
    assert shown[height // 4, 3 * width // 4].tolist() == [250, 0, 0, 255]
    assert shown[3 * height // 4, width // 4].tolist() == [0, 0, 200, 255]
    assert page.run("document.querySelectorAll('.edge').length") == 0  # nothing states which side is which
    assert page.run("document.querySelector('.holds').textContent").count("80") == 1
    assert page.console == []


def test_a_script_in_any_text_does_not_run(open_page: Callable[..., Any], tmp_path: Path) -> None:
    evil = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"
    ct = Volume(np.zeros((4, 8, 8), np.int16), Grid.regular((4, 8, 8), spacing_mm=(1, 1, 1)), "HU")
    label = ClassLabel(name=evil, image=evil, classes=(evil,), values=(evil,), probabilities=(1.0,))
    prediction = Prediction(Case(evil, "p", {}), (label,))
    page = open_page(write_report(tmp_path / "r.html", prediction, {evil: ct}, findings_of(prediction)))
    assert page.run("typeof window.hacked") == "undefined"
    assert evil in page.run("document.querySelector('h1').textContent")
    # even where a tag slipped through, the policy would stop it
    page.run(f"document.body.insertAdjacentHTML('beforeend', {json.dumps(evil)})")
    page.run(
        "document.body.append(Object.assign(document.createElement('script'), {textContent: 'window.hacked = 1'}))"
    )
    page.settle()
    assert page.run("typeof window.hacked") == "undefined"
