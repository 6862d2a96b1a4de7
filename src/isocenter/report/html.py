"""``report.html``: one file that a person can open, look through and print, without any network."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isocenter.io.files import atomic_path
from isocenter.records import ClassLabel
from isocenter.report.codes import INTENDED_USE, words
from isocenter.report.findings import flags_of
from isocenter.report.parts import layers_of
from isocenter.report.rows import columns_of, percent, rows_of
from isocenter.report.scene import scene_of
from isocenter.report.viewing import is_placed

if TYPE_CHECKING:
    from jinja2 import Template

    from isocenter.records import Finding, Prediction
    from isocenter.report.scene import Scene
    from isocenter.volume import Volume

__all__ = ["write_report"]

_SCRIPTS = ("data.js", "view.js", "app.js")


def write_report(
    path: str | Path,
    prediction: Prediction,
    images: Mapping[str, Volume],
    findings: Sequence[Finding],
    *,
    title: str | None = None,
    created: datetime | None = None,
) -> Path:
    """Write a report of a prediction as one self-contained HTML file.

    It shows three orthogonal planes (one for a single image) in the radiological convention, with what was found drawn
    over them, a table of findings with key images, the model, and every flag. Nothing of the case but its id is
    written; all text is escaped, and a content security policy lets nothing run or load but what this function put
    in. Images are stored at up to 200 x 256 x 256 voxels of 256 tones, so that the file stays below 12 MB.

    Args:
        path: File to write; its folder is made where it is missing.
        prediction: What was found.
        images: Images by the names that annotations use; the one they lie on is shown first. May be empty.
        findings: What the table lists, as `findings_of` gives it.
        title: Head of the page; the case's id where ``None``.
        created: Time to state; now where ``None``.

    Returns:
        The path written.

    Raises:
        ConfigError: The place cannot be written to.
        LabelError: The number of masks is not the number of structures in their schema.
    """
    layers = layers_of(prediction)
    scene = scene_of(prediction, images, layers)
    flags = (*flags_of(prediction, findings), *(scene.flags if scene else ()))
    columns = columns_of(findings)
    rows = rows_of(findings, columns, prediction=prediction, images=images, layers=layers, scene=scene)
    content = {
        "title": title or f"Case {prediction.case.id}",
        "case_id": prediction.case.id,
        "titled": title is not None,
        "model": prediction.provenance,
        "created": created or datetime.now(UTC),
        "intended_use": INTENDED_USE,
        "reviews": [flag for flag in flags if flag.level == "review"],
        "notes": [flag for flag in flags if flag.level != "review"],
        "classes": [_question(a) for a in prediction.annotations if isinstance(a, ClassLabel)],
        "columns": columns,
        "rows": rows,
        "pictures": any(row["picture"] for row in rows),
        "images": [{"name": name, "text": _described(volume)} for name, volume in images.items()],
        "scene": scene,
        **_viewer(scene),
        **_static(),
    }
    with atomic_path(path) as part:
        part.write_text(_template().render(content), encoding="utf-8")
    return Path(path)


@cache
def _template() -> Template:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("isocenter.report", "templates")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("report.html.j2")


@cache
def _static() -> Mapping[str, Any]:
    """Style and script of the page, and the policy that allows these two by their hashes and nothing else."""
    from markupsafe import Markup

    folder = files("isocenter.report") / "templates"
    style = (folder / "report.css").read_text(encoding="utf-8")
    parts = "\n".join((folder / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    script = f'"use strict";\n(() => {{\n{parts}}})();\n'
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )
    # the two files are part of the package, not input
    return {"style": Markup(style), "script": Markup(script), "policy": policy}  # noqa: S704


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _viewer(scene: Scene | None) -> Mapping[str, Any]:
    if scene is None:
        return {
            "planes": (),
            "shown": (),
            "legend": (),
            "depths": (),
            "has_labels": False,
            "has_depth": False,
            "presets": 0,
        }
    legend = [
        {"attribute": "data-structure", "number": k, **{key: s[key] for key in ("name", "colour", "empty")}}
        for k, s in enumerate(scene.meta["structures"])
    ]
    kinds = {box["kind"]: box for box in scene.meta["boxes"]}
    for kind, box in sorted(kinds.items()):
        entry = {"attribute": "data-kind", "number": kind, "name": box["name"], "colour": box["colour"]}
        legend.append({**entry, "empty": False})
    depths = [scene.grid.shape[plane.normal] for plane in scene.planes]
    return {
        "planes": scene.planes,
        "shown": scene.meta["images"],
        "legend": legend,
        "depths": depths,
        "has_labels": bool(scene.meta["structures"]),
        "has_depth": max(depths) > 1,
        "presets": max(len(image["windows"]) for image in scene.meta["images"]),
    }


def _question(label: ClassLabel) -> Mapping[str, Any]:
    known = label.probabilities or (None,) * len(label.classes)
    rows = [
        {
            "name": words(name),
            "holds": name in label.values,
            "text": "–" if p is None else percent(p),
            "percent": 0 if p is None else round(100 * min(max(p, 0.0), 1.0), 1),
        }
        for name, p in zip(label.classes, known, strict=True)
    ]
    return {"title": "Classification" if label.name == "main" else words(label.name), "rows": rows}


def _described(volume: Volume) -> str:
    shape = " × ".join(str(n) for n in volume.grid.shape[::-1])
    if not is_placed(volume.grid):
        return shape.removesuffix(" × 1") + " pixels, spacing not stated"
    spacing = " × ".join(f"{s:.3g}" for s in volume.grid.spacing_mm[::-1])
    return f"{shape} voxels of {spacing} mm" + ("" if volume.unit == "a.u." else f", {volume.unit}")
