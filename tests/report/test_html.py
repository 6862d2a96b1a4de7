"""The page as a file: whole, self-contained, escaped, bounded."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from isocenter.records import (
    Boxes,
    Case,
    ClassLabel,
    ConfigError,
    Flag,
    LabelMap,
    LabelSchema,
    Masks,
    Prediction,
    Provenance,
    Structure,
)
from isocenter.report import findings_of, scene, write_report
from isocenter.volume import Grid, Volume

NOW = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
EVIL = "<script>window.hacked=1</script>\"'&amp;<img src=x onerror=alert(1)></script>"


class Elements(HTMLParser):
    """Every element with its attributes, and the text inside scripts, styles and elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.text = ""
        self._open = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._open = tag if tag in self.inside else ""
        if self._open:
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open:
            self.inside[self._open][-1] += data
        else:
            self.text += data


def small_ct(shape: tuple[int, int, int] = (8, 20, 24), seed: int = 0) -> Volume:
    values = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
    return Volume(values, Grid.regular(shape, spacing_mm=(3, 1, 1), frame="1.2"), "HU")


def evil_prediction(image: Volume) -> Prediction:
    labels = Volume(np.ones(image.grid.shape, np.uint8), image.grid, "label")
    schema = LabelSchema((Structure(EVIL, (1,)), Structure("empty", (2,))))
    box = Boxes(image=EVIL, schema=schema, corners=np.array([[0.0, 2, 2, 3, 9, 9]]), classes=np.array([0]))
    return Prediction(
        Case(EVIL, "patient", {}, attributes={"age": EVIL}),
        (
            LabelMap(image=EVIL, schema=schema, read=lambda: labels),
            box,
            ClassLabel(name=EVIL, classes=(EVIL, "b"), values=(EVIL,), probabilities=(0.7, 0.3)),
        ),
        flags=(Flag(EVIL, EVIL, "review"), Flag("x", EVIL)),
        provenance=Provenance(EVIL, EVIL, EVIL, {EVIL: EVIL}),
    )


@pytest.fixture
def evil_page(tmp_path: Path) -> Path:
    image = small_ct()
    prediction = evil_prediction(image)
    images = {EVIL: image}
    return write_report(tmp_path / "evil.html", prediction, images, findings_of(prediction, images), title=EVIL)


def test_a_tag_in_any_text_stays_text(evil_page: Path) -> None:
    page = Elements(evil_page.read_text(encoding="utf-8"))
    scripts = [attributes for tag, attributes in page.found if tag == "script"]
    assert [s.get("type") for s in scripts] == ["application/json", "text/plain", "text/plain", None]
    assert page.text.count(EVIL) >= 10
    assert json.loads(page.inside["script"][0])["structures"][0]["name"] == EVIL
    assert all(not name.startswith("on") for _, attributes in page.found for name in attributes)


def test_the_policy_allows_the_two_inline_parts_and_nothing_else(evil_page: Path) -> None:
    page = Elements(evil_page.read_text(encoding="utf-8"))
    policy = next(a["content"] for _, a in page.found if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    for kind, text in (("script-src", page.inside["script"][-1]), ("style-src", page.inside["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules.pop(kind) == f"'sha256-{digest}'"
    assert rules == {"default-src": "'none'", "img-src": "data:", "base-uri": "'none'", "form-action": "'none'"}
    assert not [a for _, a in page.found if "style" in a]  # the policy would drop it


def test_nothing_is_loaded_from_elsewhere(chest_report: Callable[..., Path]) -> None:
    text = chest_report().read_text(encoding="utf-8")
    page = Elements(text)
    links = [a[name] for _, a in page.found for name in ("src", "href", "action", "srcset") if name in a]
    assert links
    assert all(str(link).startswith("data:image/png;base64,") for link in links)
    assert not re.search(r"(https?:)?//[a-z0-9-]+\.[a-z]", text.lower().replace("http://www.w3.org", ""))
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|WebSocket|localStorage", text)


def test_only_the_id_of_the_case_is_written(chest_report: Callable[..., Path], tmp_path: Path) -> None:
    image = small_ct()
    case = Case("case-7", "secret-pseudonym", {}, attributes={"name": "secret-name"}, priors=("secret-prior",))
    text = write_report(tmp_path / "r.html", Prediction(case, ()), {"ct": image}, ()).read_text(encoding="utf-8")
    assert "case-7" in text
    assert "secret" not in text


def test_the_page_says_what_it_must(chest_report: Callable[..., Path]) -> None:
    text = Elements(chest_report().read_text(encoding="utf-8")).text
    for part in ("AI generated, unverified", "Not a medical device", "research use", "organs", "0.1.0", "c0ffee" * 10):
        assert part in text
    assert "The image is noisy." in text
    assert "not found by the model" in text  # the effusion
    assert "Lung left" in text


def test_same_input_same_file(tmp_path: Path) -> None:
    prediction = evil_prediction(small_ct())
    paths = [
        write_report(tmp_path / f"{i}.html", prediction, {EVIL: small_ct()}, findings_of(prediction), created=NOW)
        for i in range(2)
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_without_images_the_numbers_stand_alone(tmp_path: Path) -> None:
    label = ClassLabel(classes=("no", "yes"), values=("yes",), probabilities=(0.0004, 0.9996))
    prediction = Prediction(Case("c", "p", {}), (label,))
    page = Elements(write_report(tmp_path / "r.html", prediction, {}, findings_of(prediction)).read_text("utf-8"))
    assert "canvas" not in [tag for tag, _ in page.found]
    assert page.inside["script"] == []
    assert ">99.9" in page.text
    assert "<0.1" in page.text


def test_what_lies_in_another_frame_is_left_out_and_said(tmp_path: Path) -> None:
    ct = small_ct()
    other = Grid(ct.grid.shape, ct.grid.affine, "9.9")
    mask = Volume(np.ones((1, *ct.grid.shape), np.uint8), other, "label")
    masks = Masks(image="ct", schema=LabelSchema.of({"a": 1}), read=lambda: mask)
    images = {"ct": ct, "mr": Volume(np.ones(ct.grid.shape), other)}
    text = write_report(tmp_path / "r.html", Prediction(Case("c", "p", {}), (masks,)), images, ()).read_text("utf-8")
    assert "mr: not shown" in text
    assert "labels-not-shown" in text


def test_noise_does_not_make_the_file_larger_than_promised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    most = 100_000
    monkeypatch.setattr(scene, "MOST_BYTES", most)
    image = small_ct((40, 100, 100))  # noise that cannot be packed: 530 kB as it is
    path = write_report(tmp_path / "r.html", Prediction(Case("c", "p", {}), ()), {"ct": image}, ())
    blocks = Elements(path.read_text(encoding="utf-8")).inside["script"][1:-1]
    assert 0.3 * most < sum(map(len, blocks)) <= most


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    bad = Masks(schema=LabelSchema.of({"a": 1, "b": 2}), read=lambda: small_ct())
    with pytest.raises(Exception, match="1 masks do not fit"):
        write_report(tmp_path / "out" / "r.html", Prediction(Case("c", "p", {}), (bad,)), {"ct": small_ct()}, ())
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ConfigError, match="folder"):
        write_report(tmp_path / "folder.html", Prediction(Case("c", "p", {}), ()), {}, ())
    assert [p.name for p in tmp_path.rglob("*")] == ["folder.html"]


@pytest.mark.slow
def test_a_large_ct_stays_below_twelve_megabytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    grid = Grid.regular((300, 512, 512), spacing_mm=(1.0, 0.7, 0.7))
    values = np.empty(grid.shape, np.int16)
    for z in range(300):
        values[z] = rng.normal(30, 40, grid.shape[1:])  # tissue up to the edge, noisier than a clinical scan
    path = write_report(tmp_path / "r.html", Prediction(Case("c", "p", {}), ()), {"ct": Volume(values, grid, "HU")}, ())
    assert path.stat().st_size < 12e6
