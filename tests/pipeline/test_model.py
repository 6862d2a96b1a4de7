"""The model folder: the same model back, or a refusal that says why."""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.synthetic import small_plan

from isocenter.errors import ConfigError, ModelIntegrityError
from isocenter.networks import build_network
from isocenter.pipeline import MANIFEST, WEIGHTS, Model, Pipeline
from isocenter.plan import set_values
from isocenter.tasks import Calibration

PLAN = small_plan(
    {"structures": [{"name": "liver", "values": [1]}]},
    {"dimensions": 2, "options": {"strides": [[1, 1, 1], [1, 2, 2]], "channels": [3, 4], "norm": "batch"}},
    {"patch": [1, 8, 8]},
)
EXTRA = {"card.md": "# Liver ü\n", "splits.json": "{}\n"}


def model_of(seed: int = 0, **settings: Any) -> Model:
    torch.manual_seed(seed)
    network = build_network(PLAN.network, PLAN.inputs, Pipeline(PLAN).task.heads())
    network({"ct": torch.randn(2, 1, 2, 8, 8)}, {})  # running statistics move
    return Model(PLAN, network, manifest={"trained_on": {"train": 3}, "who": "ü"}, **settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return model_of(calibration=Calibration(1.7)).save(tmp_path / "model", extra=EXTRA)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None], *, sign: bool = True) -> None:
    """Change the manifest as somebody would who knows how it is signed."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    if sign:
        rest = {k: v for k, v in manifest.items() if k != "digest"}
        manifest["digest"] = hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_a_loaded_model_is_the_saved_one(folder: Path) -> None:
    model, loaded = model_of(calibration=Calibration(1.7)), Model.load(folder)
    assert loaded.plan == model.plan
    assert loaded.calibration == model.calibration
    assert not loaded.network.training
    for (name, a), (_, b) in zip(model.network.state_dict().items(), loaded.network.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
        assert a.dtype == b.dtype
    given = {"ct": torch.randn(1, 1, 2, 9, 11)}
    with torch.inference_mode():
        assert torch.equal(model.network(given, {})["segmentation"], loaded.network(given, {})["segmentation"])


def test_the_folder_holds_what_it_says_and_nothing_pickled(folder: Path) -> None:
    names = {p.name for p in folder.iterdir()}
    assert names == {WEIGHTS, "plan.yaml", MANIFEST, "calibration.json", *EXTRA}
    manifest = json.loads((folder / MANIFEST).read_text())
    assert set(manifest["files"]) == names - {MANIFEST}
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
        with pytest.raises(
            (pickle.UnpicklingError, EOFError, ValueError, IndexError, KeyError, AttributeError, ImportError)
        ):
            pickle.loads((folder / name).read_bytes())  # noqa: S301 that it is none is what is tested
    assert manifest["trained_on"] == {"train": 3}
    assert Model.load(folder).text(folder, "card.md") == "# Liver ü\n"
    assert Model.load(folder).text(folder, "none.txt") is None


def test_provenance_follows_the_model(folder: Path, tmp_path: Path) -> None:
    first = Model.load(folder).provenance
    assert first == Model.load(folder).provenance
    saved = model_of(calibration=Calibration(1.7))
    saved.save(tmp_path / "same", extra=EXTRA)
    assert saved.provenance == first
    other = model_of(seed=1, calibration=Calibration(1.7))
    other.save(tmp_path / "other", extra=EXTRA)
    assert other.provenance.digest != first.digest
    assert len(first.digest) == 64


def test_saving_a_loaded_model_gives_the_same_files(folder: Path, tmp_path: Path) -> None:
    again = Model.load(folder).save(tmp_path / "again", extra=EXTRA)
    for file in folder.iterdir():
        assert (again / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize("name", [WEIGHTS, "plan.yaml", MANIFEST, "calibration.json", *EXTRA])
def test_one_flipped_bit_in_any_file_is_refused(folder: Path, name: str) -> None:
    file = folder / name
    whole = file.read_bytes()
    rng = np.random.default_rng(0)
    for place in {0, len(whole) - 1, *rng.integers(0, len(whole), 25).tolist()}:
        broken = bytearray(whole)
        broken[place] ^= 1 << int(rng.integers(8))
        file.write_bytes(broken)
        with pytest.raises(ModelIntegrityError) as caught:
            Model.load(folder)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    file.write_bytes(whole)
    Model.load(folder)


@pytest.mark.parametrize("name", [WEIGHTS, "plan.yaml", MANIFEST, "calibration.json", *EXTRA])
def test_a_missing_or_shortened_file_is_refused(folder: Path, name: str) -> None:
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[:-3])
    with pytest.raises(ModelIntegrityError, match=name):
        Model.load(folder)
    (folder / name).unlink()
    with pytest.raises(ModelIntegrityError, match=name):
        Model.load(folder)


def test_a_file_that_the_manifest_does_not_name_is_not_read(folder: Path) -> None:
    (folder / "notes.txt").write_text("mine")
    assert Model.load(folder).text(folder, "notes.txt") is None


@pytest.mark.parametrize("name", ["../secret.txt", "/etc/hostname", "sub/card.md", "..", ".", ""])
def test_names_that_lead_out_of_the_folder_are_refused(folder: Path, name: str) -> None:
    (folder.parent / "secret.txt").write_text("x")
    digest = hashlib.sha256(b"x").hexdigest()
    rewrite(folder, lambda manifest: manifest["files"].update({name: digest}))
    with pytest.raises(ModelIntegrityError, match="is not a plain file name"):
        Model.load(folder)


@pytest.mark.parametrize(
    "name", ["../card.md", "a/b.md", "/etc/x", "..", MANIFEST, WEIGHTS, "plan.yaml", "calibration.json", ""]
)
def test_further_files_have_plain_names_of_their_own(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot be the name"):
        model_of().save(tmp_path / "model", extra={name: "x"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: m.update(format=2), "format 2, this version reads 1"),
        (lambda m: m.pop("format"), "format None"),
        (lambda m: m.pop("files"), "lists no files"),
        (lambda m: m.update(files=[WEIGHTS]), "lists no files"),
        (lambda m: m["files"].pop(WEIGHTS), f"does not list {WEIGHTS}"),
        (lambda m: m["files"].pop("plan.yaml"), "does not list plan.yaml"),
        (lambda m: m["files"].update({WEIGHTS: 5}), "changed or damaged"),
        (lambda m: m["files"].update({"plan.yaml": "0" * 64}), "plan.yaml was changed"),
    ],
)
def test_a_manifest_that_does_not_hold_is_refused(folder: Path, change, says: str) -> None:
    rewrite(folder, change)
    with pytest.raises(ModelIntegrityError, match=says):
        Model.load(folder)


def test_a_manifest_that_was_changed_is_refused(folder: Path) -> None:
    rewrite(folder, lambda m: m["trained_on"].update(train=99), sign=False)
    with pytest.raises(ModelIntegrityError, match=f"{MANIFEST} was changed"):
        Model.load(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff\xfe", "[" * 100_000])
def test_a_manifest_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_bytes(text.encode("latin-1"))
    with pytest.raises(ModelIntegrityError, match=MANIFEST):
        Model.load(folder)


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    wider = set_values(PLAN, {"network.options.channels": [3, 8]})
    network = build_network(wider.network, wider.inputs, Pipeline(wider).task.heads())
    other = Model(wider, network).save(tmp_path / "other")
    (folder / WEIGHTS).write_bytes((other / WEIGHTS).read_bytes())
    rewrite(folder, lambda m: m["files"].update({WEIGHTS: hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()}))
    with pytest.raises(ModelIntegrityError, match=r"weights do not fit the plan's network .*size mismatch") as caught:
        Model.load(folder)
    assert "\n" not in str(caught.value)


def test_no_folder_and_no_model_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ModelIntegrityError, match="no such folder"):
        Model.load(tmp_path / "none")
    with pytest.raises(ModelIntegrityError, match="not a model folder"):
        Model.load(tmp_path)


def test_a_folder_in_use_is_kept_unless_it_may_be_replaced(folder: Path) -> None:
    before = (folder / WEIGHTS).read_bytes()
    with pytest.raises(ConfigError, match="not empty"):
        model_of(seed=1).save(folder)
    assert (folder / WEIGHTS).read_bytes() == before
    model_of(seed=1).save(folder, overwrite=True)
    assert (folder / WEIGHTS).read_bytes() != before
    assert not (folder / "card.md").exists()
    assert [p.name for p in folder.parent.iterdir()] == ["model"]


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    model = model_of()
    model.manifest = {"bad": object()}
    with pytest.raises(TypeError):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_loading_does_not_touch_the_callers_random_numbers(folder: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Model.load(folder)
    assert torch.equal(torch.rand(3), expected)


def members_of(count: int, **changes: Any) -> list[Model]:
    models = [model_of(seed) for seed in range(count)]
    for k, model in enumerate(models):
        values = {"training.seed": k, "training.steps": 10 + k, **changes}
        plan = set_values(model.plan, values)
        models[k] = Model(plan.model_copy(update={"name": f"fold {k}"}), model.network, manifest=model.manifest)
    return models


def test_an_ensemble_is_saved_as_one_model_and_loaded_again(tmp_path: Path) -> None:
    parts = members_of(3)
    for k, part in enumerate(parts):
        part.save(tmp_path / f"fold_{k}")
    model = Model.of_members(parts)
    loaded = Model.load(model.save(tmp_path / "model"))
    assert loaded.plan == model.plan
    assert loaded.plan.inference.members == 3
    assert loaded.plan.name == "fold 0"
    assert "inference.members" in loaded.plan.reasons
    assert {p.name for p in (tmp_path / "model").iterdir()} == {WEIGHTS, "plan.yaml", MANIFEST}
    given = {"ct": torch.randn(1, 1, 2, 9, 11)}
    with torch.inference_mode():
        found = loaded.network(given, {})["segmentation"]
        each = torch.stack([part.network(given, {})["segmentation"] for part in parts])
    torch.testing.assert_close(found, each.mean(0), rtol=1e-5, atol=1e-6)
    assert each.std(0).max() > 1e-3
    assert loaded.manifest["members"] == [part.provenance.digest for part in parts]
    assert len(set(loaded.manifest["members"])) == 3
    assert loaded.manifest["trained_on"] == {"train": 3}
    assert loaded.provenance.settings["members"] == "3"
    again = Model.of_members([loaded, Model.of_members(parts)])
    assert again.plan.inference.members == len(again.network.members) == 6


def test_an_ensemble_of_one_is_that_model() -> None:
    model = model_of(calibration=Calibration(1.7))
    one = Model.of_members([model])
    assert (one.plan, one.network, one.calibration) == (model.plan, model.network, model.calibration)
    assert Model.of_members([model, model_of(1)]).calibration is None


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"preprocess.spacing_mm": [0, 1, 1]}, "preprocess.spacing_mm=[0.0, 1.0, 1.0], that of member 0 has None"),
        ({"inference.overlap": 0.25}, "inference.overlap=0.25, that of member 0 has 0.5"),
        ({"network.options.channels": [3, 8]}, "network.options.channels=[3, 8], that of member 0 has [3, 4]"),
        ({"training.batch": 7}, "training.batch=7, that of member 0 has 2"),
        ({"inference.largest_component": ["liver"]}, "inference.largest_component=['liver'], that of member 0 has []"),
    ],
)
def test_members_of_different_plans_are_refused_and_the_key_is_named(change: dict[str, Any], says: str) -> None:
    models = members_of(3)
    models[2] = Model(set_values(models[2].plan, change), models[2].network)
    with pytest.raises(ConfigError) as caught:
        Model.of_members(models)
    assert f"member 2 of the ensemble: its plan has {says}" in str(caught.value)
    with pytest.raises(ConfigError, match="no models"):
        Model.of_members([])


def test_weights_of_too_few_members_are_refused(tmp_path: Path) -> None:
    model = Model.of_members(members_of(2))
    model.plan = set_values(model.plan, {"inference.members": 3})
    with pytest.raises(ModelIntegrityError, match="weights do not fit the plan's network"):
        Model.load(model.save(tmp_path / "model"))


def test_what_changes_the_answer_stands_in_the_provenance() -> None:
    model = model_of()
    assert model.provenance.settings == {"overlap": "0.5", "precision": "fp32"}
    seen = Model(set_values(PLAN, {"inference.views": [{"scale": 0.9}, {"mirror": [2]}]}), model.network)
    assert seen.provenance.settings == {"overlap": "0.5", "precision": "fp32", "views": "2"}
