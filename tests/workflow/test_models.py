"""A model folder: what is in it, that it is whole, and that it gives the same answers wherever it is read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import isocenter as iso
from isocenter.errors import ConfigError, ModelIntegrityError


def labels_of(result: iso.Result) -> np.ndarray:
    return result.prediction.annotations[0].read().array


def test_any_flipped_bit_of_the_manifest_is_noticed(trained: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained, model)
    file = model / "manifest.json"
    whole = file.read_bytes()
    for bit in range(0, len(whole) * 8, 3):  # 3 is prime to 8: every place in a byte gets its turn
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        file.write_bytes(data)
        with pytest.raises(ModelIntegrityError, match="model"):
            iso.load(model)
    file.write_bytes(whole)
    iso.load(model)


def test_a_file_that_the_manifest_does_not_name_is_not_read(trained: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(trained, model)
    manifest = json.loads((model / "manifest.json").read_text())
    manifest["files"]["../secret.txt"] = "0"
    (model / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ModelIntegrityError):
        iso.load(model)


def test_saved_and_loaded_is_the_same_model(trained: Path, studies: Path, tmp_path: Path) -> None:
    model = iso.load(trained)
    study = studies / "thorax_0001"
    first = model.predict(study)
    model.save(tmp_path / "copy")
    again = iso.load(tmp_path / "copy")
    assert again.plan == model.plan
    second = again.predict(study)
    assert np.array_equal(labels_of(first), labels_of(second))
    assert first.prediction.provenance is not None
    assert first.prediction.provenance.digest == json.loads((trained / "manifest.json").read_text())["digest"]
    with pytest.raises(ConfigError, match="is not empty"):
        model.save(tmp_path / "copy")
    model.save(tmp_path / "copy", overwrite=True)


def test_loading_leaves_the_random_generator_as_it_was(trained: Path) -> None:
    import torch

    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    iso.load(trained)
    assert torch.equal(torch.rand(4), expected)


def test_the_folder_says_what_the_model_learned_from(trained: Path, studies: Path) -> None:
    card = (trained / "card.md").read_text()
    splits = json.loads((trained / "splits.json").read_text())
    facts = json.loads((trained / "training.json").read_text())
    assert facts["cases"] == {"train": 3, "val": 1, "left_out": 0}
    assert sorted(splits["train"] + splits["val"]) == [f"thorax_{n:04d}" for n in range(1, 5)]
    assert "3 cases, watched on 1 others" in card
    assert "`training.steps`: set by hand" in card
    texts = [p.read_text() for p in trained.iterdir() if p.suffix in (".json", ".md", ".yaml")]
    assert not any("SIM-000" in text for text in texts)  # the Patient IDs
