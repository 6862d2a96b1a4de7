from __future__ import annotations

import json

import numpy as np
import pytest

from isocenter.errors import ConfigError, DatasetError, GeometryError, ValueRangeError
from isocenter.metrics import (
    Matches,
    Measure,
    auc,
    average_precision,
    bootstrap_mean,
    bootstrap_statistic,
    cpm,
    dice,
    hd95,
    measure_class,
    measure_detections,
    measure_structure,
    nsd,
    summarise,
)

SPACING = (5.0, 1.0, 1.0)


def ball(radius: float, centre: tuple[int, int] = (16, 16)) -> np.ndarray:
    z, y, x = np.ogrid[:6, :32, :32]
    return (z - 3) ** 2 * 25 + (y - centre[0]) ** 2 + (x - centre[1]) ** 2 <= radius**2


def segment(case, patient, name, prediction, truth, **options):
    return measure_structure(prediction, truth, case=case, patient=patient, name=name, spacing_mm=SPACING, **options)


@pytest.fixture
def measures():
    empty = np.zeros((6, 32, 32), bool)
    return [
        segment("c1", "p1", "liver", ball(9), ball(10)),
        segment("c1", "p1", "tumour", empty, ball(4)),
        segment("c2", "p1", "liver", ball(10, (15, 17)), ball(10)),
        segment("c2", "p1", "tumour", empty, empty),
        segment("c3", "p2", "liver", ball(8), ball(10)),
        segment("c3", "p2", "tumour", ball(3), empty),
        segment("c4", "p3", "liver", ball(10), ball(10)),
        segment("c4", "p3", "tumour", ball(4), ball(5)),
    ]


def plain(value):
    """Every leaf of a table, which must be JSON and nothing else."""
    if isinstance(value, dict):
        assert all(isinstance(k, str) for k in value)
        return [leaf for v in value.values() for leaf in plain(v)]
    if isinstance(value, list):
        return [leaf for v in value for leaf in plain(v)]
    assert value is None or type(value) in (int, float, str)
    return [value]


def test_a_measured_structure_carries_every_figure():
    prediction, truth = ball(9), ball(10, (17, 16))
    found = segment("c", "p", "liver", prediction, truth, tolerance_mm=1.0)
    assert found.outcome == "found"
    assert found.values["dice"] == dice(prediction, truth)
    assert found.values["hd95_mm"] == hd95(prediction, truth, SPACING)
    assert found.values["nsd"] == nsd(prediction, truth, SPACING, 1.0)
    assert found.values["volume_bias_ml"] == pytest.approx((prediction.sum() - truth.sum()) * 0.005)
    assert found.values["volume_error_ml"] == abs(found.values["volume_bias_ml"])


def test_unannotated_voxels_do_not_count():
    valid = np.ones((6, 32, 32), bool)
    valid[:, :, 20:] = False
    wrong_there = ball(10) & valid | ~valid
    assert segment("c", "p", "liver", wrong_there, ball(10)).values["dice"] < 0.9
    assert segment("c", "p", "liver", wrong_there, ball(10), valid=valid).values["dice"] == 1
    with pytest.raises(GeometryError):
        segment("c", "p", "liver", ball(9), ball(9), valid=valid[1:])


def test_form_of_the_tables(measures):
    found = summarise(measures)
    assert list(found) == ["summary", "structures", "cases"]
    assert list(found["structures"]) == ["liver", "tumour"]
    for table in (found["summary"], *found["structures"].values()):
        assert {"dice", "dice_interval", "hd95_mm", "nsd", "volume_error_ml", "missed", "false", "absent"} <= set(table)
    assert (found["summary"]["cases"], found["summary"]["patients"]) == (4, 3)
    assert found["cases"]["c1"]["liver"]["dice"] == measures[0].values["dice"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert plain(found)


def test_missed_and_false_are_penalised_and_absent_is_left_out(measures):
    found = summarise(measures)
    tumour, summary = found["structures"]["tumour"], found["summary"]
    assert (tumour["missed"], tumour["false"], tumour["absent"]) == (1, 1, 1)
    assert (summary["missed"], summary["false"], summary["absent"]) == (1, 1, 1)
    assert tumour["dice"] == pytest.approx(measures[7].values["dice"] / 3)
    diagonal = float(np.linalg.norm(np.array([6, 32, 32]) * SPACING))
    assert tumour["hd95_mm"] == pytest.approx((2 * diagonal + measures[7].values["hd95_mm"]) / 3)
    assert found["cases"]["c1"]["tumour"]["outcome"] == "missed"
    assert found["cases"]["c2"]["tumour"]["outcome"] == "absent"
    assert found["cases"]["c2"]["tumour"]["dice"] is None


def test_summary_is_the_mean_over_structures(measures):
    found = summarise(measures)
    each = [table["dice"] for table in found["structures"].values()]
    assert found["summary"]["dice"] == pytest.approx(np.mean(each))


def test_intervals_resample_patients(measures):
    found = summarise(measures, seed=4)
    liver = [m for m in measures if m.name == "liver"]
    expected = bootstrap_mean([m.values["dice"] for m in liver], [m.patient for m in liver], resamples=1000, seed=4)
    assert found["structures"]["liver"]["dice_interval"] == pytest.approx([expected.low, expected.high])
    low, high = found["summary"]["dice_interval"]
    assert low <= found["summary"]["dice"] <= high
    assert found == summarise(measures, seed=4)
    turned = summarise(measures[::-1], seed=4)
    assert all(turned[part] == found[part] for part in ("summary", "structures", "cases"))
    one = summarise([m for m in measures if m.patient == "p1"])
    assert one["summary"]["dice_interval"] is None


def test_groups_keep_every_case(measures):
    scanner = {"c1": "A", "c2": "B", "c3": "A"}
    found = summarise(measures, groups={"scanner": scanner})["groups"]["scanner"]
    assert {value: table["cases"] for value, table in found.items()} == {"A": 2, "B": 1, "unknown": 1}
    part = [m for m in measures if scanner.get(m.case) == "A"]
    assert found["A"] == summarise(part)["summary"]


def test_a_structure_that_no_case_has():
    empty = np.zeros((6, 32, 32), bool)
    rows = [segment(f"c{k}", f"p{k}", "tumour", empty, empty) for k in range(3)]
    table = summarise(rows)["summary"]
    assert table["dice"] is None
    assert table["dice_interval"] is None
    assert table["absent"] == 3


def test_classification():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 30)
    p = 1 / (1 + np.exp(-(2.0 * truth - 1 + rng.normal(size=30))))
    patients = [f"p{k // 2}" for k in range(30)]
    rows = [
        measure_class([1 - p[k], p[k]], int(truth[k]), case=f"c{k:02}", patient=patients[k], name="malignant")
        for k in range(30)
    ]
    table = summarise(rows, resamples=200)["structures"]["malignant"]
    assert table["accuracy"] == pytest.approx(((p > 0.5) == truth).mean())
    assert table["auc"] == pytest.approx(auc(p, truth))
    assert table["sensitivity_1"] == pytest.approx((p[truth == 1] > 0.5).mean())
    expected = bootstrap_statistic(lambda k: auc(p[k], truth[k]), patients, resamples=200)
    assert table["auc_interval"] == pytest.approx([expected.low, expected.high])
    assert table["accuracy_interval"][0] < table["accuracy"] < table["accuracy_interval"][1]
    same = summarise([m for m in rows if m.evidence["truth"] == (1.0,)], resamples=20)["summary"]
    assert same["auc"] is None
    assert same["auc_interval"] is None


def test_detection():
    rng = np.random.default_rng(1)
    scans = []
    for _ in range(8):
        truths = int(rng.integers(0, 3))
        hits = rng.permutation(np.concatenate([np.arange(truths), [-1, -1]]))
        scans.append(Matches(rng.random(hits.size), hits, truths))
    scans.append(Matches(np.zeros(0), np.zeros(0, np.int64), 0))
    rows = [measure_detections(m, case=f"c{k}", patient=f"p{k}", name="nodule") for k, m in enumerate(scans)]
    assert rows[-1].outcome == "absent"
    found = summarise(rows, resamples=50)
    table = found["summary"]
    assert table["ap"] == pytest.approx(average_precision(scans))
    assert table["cpm"] == pytest.approx(cpm(scans))  # the scan without anything counts as a scan
    false = sum(((m.scores >= 0.5) & (m.hits < 0)).sum() for m in scans)
    assert table["false_positives_per_scan"] == pytest.approx(false / 9)
    hit = sum(((m.scores >= 0.5) & (m.hits >= 0)).sum() for m in scans)
    assert table["object_sensitivity"] == pytest.approx(hit / sum(m.truths for m in scans))
    assert table["ap_interval"][0] <= table["ap"] <= table["ap_interval"][1]
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("scores", "hits", "truths", "outcome"),
    [
        ([0.9], [0], 1, "found"),
        ([0.9, 0.4], [-1, 0], 1, "missed"),  # the hit lies below the threshold
        ([], [], 2, "missed"),
        ([0.9], [-1], 0, "false"),
        ([0.3], [-1], 0, "absent"),
    ],
)
def test_outcome_of_detections(scores, hits, truths, outcome):
    matches = Matches(np.array(scores), np.array(hits, np.int64), truths)
    assert measure_detections(matches, case="c", patient="p", name="n").outcome == outcome


def test_several_kinds_are_averaged():
    rows = [
        measure_detections(Matches(np.array([0.9]), np.array([hit]), 1), case="c", patient="p", name=name)
        for name, hit in (("nodule", 0), ("node", -1))
    ]
    assert summarise(rows)["summary"]["ap"] == 0.5


def test_refuses_nonsense():
    row = Measure("c1", "p1", "liver", {"dice": 0.5})
    with pytest.raises(ValueRangeError, match="dice of 'liver' in case c1 is nan"):
        Measure("c1", "p1", "liver", {"dice": float("nan")})
    with pytest.raises(ValueRangeError, match="scores"):
        Measure("c1", "p1", "nodule", {}, evidence={"scores": (0.5, float("inf"))})
    with pytest.raises(ConfigError, match="outcome"):
        Measure("c1", "p1", "liver", {"dice": 0.5}, "lost")
    with pytest.raises(DatasetError, match="no case"):
        summarise([])
    with pytest.raises(DatasetError, match="2 times in case c1"):
        summarise([row, row])
    with pytest.raises(DatasetError, match="two patients"):
        summarise([row, Measure("c1", "p2", "spleen", {"dice": 0.5})])
    with pytest.raises(ConfigError, match="level"):
        summarise([row], level=95)
    with pytest.raises(ConfigError, match="class 2"):
        measure_class([0.5, 0.5], 2, case="c", patient="p", name="x")
