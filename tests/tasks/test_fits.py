"""Each task learns: a short fit on blobs in noise, judged on cases it has not seen."""

from __future__ import annotations

import pytest
from tests.synthetic import blob_cases, fit_and_predict, small_plan

import isocenter.strategies  # noqa: F401  registers the supervised strategy
from isocenter.metrics import summarise
from isocenter.pipeline import Pipeline
from isocenter.plan import Plan, dump_plan, parse_plan

BLOB = [{"name": "blob", "values": [1]}]
VOLUME = {"stem": [2, 2, 2], "strides": [[1, 1, 1], [2, 2, 2], [2, 2, 2]], "channels": [12, 24, 32], "norm": "batch"}


def figures(plan: Plan, training, unseen, folder) -> dict[str, float]:
    plan = parse_plan(dump_plan(plan))  # as it would be read from a model folder
    predictions = fit_and_predict(plan, training, unseen, folder)
    task = Pipeline(plan).task
    measures = [m for p, case in zip(predictions, unseen, strict=True) for m in task.measure(p, case)]
    return summarise(measures, resamples=10)["summary"]


def test_classification_tells_volumes_with_a_blob(tmp_path):
    settings = {"shape": (12, 32, 32), "radius": (3, 5)}
    plan = small_plan(
        {"name": "classification", "target": "blob", "classes": ["absent", "present"]},
        {"options": {"stem": [1, 2, 2], "strides": VOLUME["strides"], "channels": [8, 16, 32]}},
        {"steps": 60, "batch": 8, "patch": (12, 32, 32), "learning_rate": 5e-3, "augmentation": {"mirror": [0, 1, 2]}},
    )
    training, unseen = (blob_cases(n, seed=s, blobs=(0, 1), **settings) for n, s in ((24, 1), (20, 2)))
    found = figures(plan, training, unseen, tmp_path)
    assert found["accuracy"] >= 0.9
    assert found["auc"] >= 0.9


@pytest.mark.parametrize(("patch", "steps"), [((32, 48, 48), 40), ((24, 32, 32), 60)], ids=["whole", "windows"])
def test_detection_finds_blobs_in_volumes(tmp_path, patch, steps):
    """Two of ten cases have no blob; with windows smaller than the volume some blobs are cut."""
    settings = {"shape": (32, 48, 48), "radius": (2.5, 6), "blobs": (0, 1, 2, 3, 4)}
    plan = small_plan(
        {"name": "detection", "structures": BLOB},
        {"options": VOLUME},
        {"steps": steps, "batch": 4, "patch": patch, "learning_rate": 5e-3, "augmentation": {"mirror": [0, 1, 2]}},
    )
    training, unseen = (blob_cases(n, seed=s, **settings) for n, s in ((15, 1), (10, 2)))
    found = figures(plan, training, unseen, tmp_path)
    assert found["ap"] >= 0.8  # of hits with IoU 0.1 or more
    assert found["missed"] == 0


def test_detection_finds_blobs_in_single_slices(tmp_path):
    settings = {"shape": (1, 64, 64), "radius": (4, 9), "blobs": (0, 1, 2, 3)}
    plan = small_plan(
        {"name": "detection", "structures": BLOB},
        {
            "dimensions": 2,
            "options": {"stem": [1, 2, 2], "strides": [[1, 1, 1], [1, 2, 2], [1, 2, 2]], "channels": [12, 24, 32]},
        },
        {"steps": 80, "batch": 8, "patch": (1, 64, 64), "learning_rate": 5e-3, "augmentation": {"mirror": [1, 2]}},
    )
    training, unseen = (blob_cases(n, seed=s, **settings) for n, s in ((24, 1), (12, 2)))
    assert figures(plan, training, unseen, tmp_path)["ap"] >= 0.6  # of hits with IoU 0.5 or more


def test_segmentation_draws_blobs(tmp_path):
    settings = {"shape": (16, 32, 32), "radius": (3, 6), "blobs": (1, 2)}
    plan = small_plan(
        {"name": "segmentation", "structures": BLOB, "options": {"levels": 2}},
        {"options": {"stem": [1, 2, 2], "strides": [[1, 1, 1], [2, 2, 2]], "channels": [16, 24], "norm": "batch"}},
        {"steps": 50, "batch": 4, "patch": (12, 24, 24), "learning_rate": 5e-3},
    )
    training, unseen = (blob_cases(n, seed=s, **settings) for n, s in ((8, 1), (6, 2)))
    assert figures(plan, training, unseen, tmp_path)["dice"] >= 0.8
