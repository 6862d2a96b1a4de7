"""Prepared cases from the cache are those that `Pipeline.prepare` gives, and are made once."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from scipy import ndimage
from tests.synthetic import image_ref, label_map, make_case

from isocenter.data import CachedArray, CaseCache, CaseProblem
from isocenter.data.layouts.parts import LabelFile
from isocenter.errors import CacheError
from isocenter.io.refs import nifti_ref
from isocenter.pipeline import Pipeline, Sample, keys, prepare_cached
from isocenter.plan import Plan
from isocenter.records import Boxes, Case, ClassLabel, LabelMap, LabelSchema, Masks
from isocenter.tasks import tasks
from isocenter.tasks.segmentation import Segmentation
from isocenter.volume import Grid, Volume

SCHEMA = LabelSchema.of({"left": 1, "right": 2})
GRID = Grid.regular((9, 40, 36), spacing_mm=(3, 1.1, 1.5), origin_mm=(-20.123456789, 30, 1 / 3), frame="1.2.3")
BASE: dict[str, Any] = {
    "inputs": [{"name": "ct", "modality": "CT"}, {"name": "pet", "modality": "PT", "required": False}],
    "preprocess": {"reference": "ct", "orientation": "SPL", "spacing_mm": [0, 2.0, 2.0]},
    "task": {"structures": [{"name": "left", "values": [1]}, {"name": "right", "values": [2]}]},
}


def plan_of(**changes: Any) -> Plan:
    merged = {k: {**v, **changes.get(k, {})} if isinstance(v, dict) else changes.get(k, v) for k, v in BASE.items()}
    return Plan.model_validate({**{k: v for k, v in changes.items() if k not in BASE}, **merged})


def noise(seed: int, grid: Grid = GRID) -> np.ndarray:
    return ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=grid.shape), 1.0)


def case_of(name: str, seed: int = 0, *, grid: Grid = GRID, pet: bool = False) -> Case:
    """In memory, with every kind of truth."""
    values = noise(seed, grid)
    labels = np.where(values > 0.1, 1, np.where(values < -0.1, 2, 0)).astype(np.uint8)
    planes = Volume(np.stack([values > 0.1, values > 0.2]).astype(np.uint8), grid, "label")
    annotations = (
        label_map(labels, grid, SCHEMA),
        Masks(name="overlapping", image="ct", schema=SCHEMA, read=lambda: planes),
        Boxes(
            name="boxes", image="ct", schema=SCHEMA, corners=np.array([[0.5, 3.5, 2.5, 4.5, 9.5, 8.5]]),
            classes=np.array([1]),
        ),
        label_map(np.zeros(grid.shape, np.uint8), grid, SCHEMA, name="empty"),
        ClassLabel(name="side", classes=("left", "right"), values=("left" if seed % 2 else "right",)),
    )  # fmt: skip
    case = make_case(name, Volume((1000 * values).astype(np.int16), grid, "HU"), *annotations)
    small = GRID.crop((0, 2, 2), GRID.shape)
    other = Volume(noise(seed + 100, small), small, "SUVbw") if pet else None
    return case if other is None else replace(case, images={**case.images, "pet": image_ref(other, "pet")})


PLANS: dict[str, Plan] = {
    "segmentation": plan_of(),
    "stored order": plan_of(preprocess={"orientation": None, "spacing_mm": None}),
    "cubic, fixed": plan_of(
        preprocess={"interpolation": "cubic", "intensity": {"ct": {"scheme": "fixed", "lower": -90, "std": 7.0}}}
    ),
    "overlapping": plan_of(task={"annotation": "overlapping", "exclusive": False}),
    "nothing there": plan_of(task={"annotation": "empty"}),
    "objects": plan_of(task={"name": "detection"}),
    "boxes": plan_of(task={"name": "detection", "annotation": "boxes"}),
    "classes": plan_of(task={"name": "classification", "target": "side", "classes": ["left", "right"]}),
    "classes that overlap": plan_of(
        task={"name": "classification", "target": "side", "classes": ["left", "right"], "exclusive": False}
    ),
}


def same_arrays(found: Mapping[str, Any], wanted: Mapping[str, torch.Tensor]) -> None:
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        array = found[name].read() if isinstance(found[name], CachedArray) else found[name].numpy()
        truth = tensor.numpy()
        assert (array.shape, array.dtype) == (truth.shape, truth.dtype)
        assert array.tobytes() == truth.tobytes()


def same(found: Sample, wanted: Sample) -> None:
    same_arrays(found.inputs, wanted.inputs)
    same_arrays(found.targets, wanted.targets)
    assert found.case is wanted.case
    assert (dict(found.present), dict(found.grids)) == (dict(wanted.present), dict(wanted.grids))
    assert (found.reference, found.placement, found.shape) == (wanted.reference, wanted.placement, wanted.shape)
    assert list(found.present) == list(wanted.present)


def same_sites(found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray]) -> None:
    assert list(found) == list(wanted)  # patches are drawn in this order
    for name, places in wanted.items():
        assert found[name].dtype == np.int32
        np.testing.assert_array_equal(found[name], places)


@pytest.mark.parametrize("name", PLANS)
def test_samples_from_the_cache_are_those_of_the_pipeline_bit_for_bit(name: str, tmp_path: Path) -> None:
    pipeline = Pipeline(PLANS[name])
    turned = GRID.permute((1, 2, 0)).flip([2])
    cases = [case_of("a", 0), case_of("b", 1, grid=turned), case_of("c", 2, pet=True)]
    wanted = [pipeline.prepare(case, targets=True) for case in cases]
    for round_, memory in enumerate((1 << 30, 0, 1 << 30)):
        found, problems = prepare_cached(pipeline, cases, CaseCache(tmp_path), memory_bytes=memory)
        assert problems == ()
        assert found.held == (3 if memory else 0)
        assert found.nbytes == sum(
            t.numel() * t.element_size() for s in wanted for t in (*s.inputs.values(), *s.targets.values())
        )
        for k, sample in enumerate(wanted):
            same(found[k], sample)
            same(found.whole(k), sample)
            assert all(isinstance(t, torch.Tensor) for t in found.whole(k).targets.values())
            same_sites(found.sites(k), pipeline.task.sites(sample.targets))
            assert isinstance(found[k].inputs["ct"], torch.Tensor if memory else CachedArray), round_
    assert len(entries(tmp_path)) == 3


def test_parts_of_what_stays_on_disk(tmp_path: Path) -> None:
    pipeline, case = Pipeline(plan_of()), case_of("a")
    found, _ = prepare_cached(pipeline, [case], CaseCache(tmp_path), memory_bytes=0)
    whole = pipeline.prepare(case, targets=True)
    for array, tensor in (
        (found[0].inputs["ct"], whole.inputs["ct"]), (found[0].targets["labels"], whole.targets["labels"])
    ):  # fmt: skip
        assert array.shape == tuple(tensor.shape)
        np.testing.assert_array_equal(array[:, 2:5, 3:20, 7:], tensor[:, 2:5, 3:20, 7:].numpy())


def test_memory_is_given_in_the_order_of_the_cases(tmp_path: Path) -> None:
    pipeline = Pipeline(plan_of())
    cases = [case_of(str(k), k) for k in range(4)]
    one = prepare_cached(pipeline, cases[:1], CaseCache(tmp_path))[0].nbytes
    found, _ = prepare_cached(pipeline, cases, CaseCache(tmp_path), memory_bytes=int(2.5 * one))
    assert [isinstance(s.inputs["ct"], torch.Tensor) for s in found] == [True, True, False, False]
    assert found.held == 2
    some = found.subset([3, 1])
    assert [s.case.id for s in some] == ["3", "1"]
    assert (len(some), some.held) == (2, 1)
    assert some[1] is found[1]
    same(some.whole(0), pipeline.prepare(cases[3], targets=True))
    same_sites(some.sites(0), found.sites(3))


def entries(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of each entry."""
    return {p.parent.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.glob("??/*/facts.json")}


class Forbidden(Pipeline):
    """May not prepare."""

    def prepare(self, case: Case, *, targets: bool = False) -> Sample:
        raise AssertionError(f"case {case.id} is prepared again")


def is_kept(plan: Plan, case: Case, folder: Path, *, targets: bool = True) -> bool:
    """The cache has it."""
    try:
        prepare_cached(Forbidden(plan), [case], CaseCache(folder), targets=targets)
    except AssertionError:
        return False
    return True


SAME = {
    "training": plan_of(training={"steps": 7, "seed": 3, "patch": [8, 8, 8], "augmentation": {"noise": 0.1}}),
    "inference and network": plan_of(
        inference={"window": [8, 16, 16], "largest_component": ["left"]}, network={"options": {"channels": [4, 8]}}
    ),
    "words": plan_of(name="other", reasons={"training.steps": "a budget"}),
    "modality": plan_of(inputs=[{"name": "ct"}, {"name": "pet", "required": False}]),
    "options of the loss": plan_of(task={"options": {"tolerance_mm": 3.0}}),
    "what structures are called elsewhere": plan_of(
        task={"structures": [{"name": "left", "values": [1], "mirror": "right", "colour": [1, 2, 3]},
                             {"name": "right", "values": [2], "mirror": "left", "code": ["1", "SCT", "x"]}]}
    ),
}  # fmt: skip
OTHER = {
    "spacing": plan_of(preprocess={"spacing_mm": [0, 2.0, 2.000001]}),
    "orientation": plan_of(preprocess={"orientation": "LPS"}),
    "interpolation": plan_of(preprocess={"interpolation": "cubic"}),
    "intensity": plan_of(preprocess={"intensity": {"ct": {"scheme": "none"}}}),
    "fewer inputs": plan_of(inputs=[{"name": "ct"}]),
    "annotation": plan_of(task={"annotation": "empty"}),
    "values": plan_of(task={"structures": [{"name": "left", "values": [1, 2]}]}),
    "names": plan_of(task={"structures": [{"name": "top", "values": [1]}, {"name": "right", "values": [2]}]}),
    "overlap": plan_of(task={"exclusive": False}),
    "ignore": plan_of(task={"ignore": 7}),
    "task": plan_of(task={"name": "detection"}),
}


def test_what_has_no_part_in_preparing_changes_no_entry(tmp_path: Path) -> None:
    case = case_of("a")
    prepare_cached(Pipeline(plan_of()), [case], CaseCache(tmp_path))
    assert is_kept(plan_of(), case, tmp_path)
    assert [name for name, plan in SAME.items() if not is_kept(plan, case, tmp_path)] == []
    assert is_kept(plan_of(), replace(case, id="b", patient="c", attributes={"x": "y"}), tmp_path)
    more = replace(case, annotations=(*case.annotations, ClassLabel(name="new", classes=("a",), values=("a",))))
    assert is_kept(plan_of(), more, tmp_path)
    assert is_kept(plan_of(), replace(case, images={**case.images, "mr": image_ref(Volume(noise(5), GRID))}), tmp_path)


def test_what_has_a_part_in_preparing_changes_the_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    case = case_of("a")
    prepare_cached(Pipeline(plan_of()), [case], CaseCache(tmp_path))
    assert [name for name, plan in OTHER.items() if is_kept(plan, case, tmp_path)] == []
    assert not is_kept(plan_of(), case, tmp_path, targets=False)
    assert not is_kept(plan_of(), case_of("a", 1), tmp_path)
    assert not is_kept(plan_of(), case_of("a", grid=GRID.flip([0])), tmp_path)
    assert not is_kept(plan_of(), case_of("a", pet=True), tmp_path)
    monkeypatch.setattr(keys, "PREPARED", keys.PREPARED + 1)
    assert not is_kept(plan_of(), case, tmp_path)


def test_a_task_from_outside_is_known_by_all_it_could_look_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Outside(Segmentation):
        pass

    monkeypatch.setitem(tasks._items, "outside", Outside)
    case, plan = case_of("a"), plan_of(task={"name": "outside"})
    prepare_cached(Pipeline(plan), [case], CaseCache(tmp_path))
    assert is_kept(plan, case, tmp_path)
    others = {
        "attributes": (plan, replace(case, attributes={"age": "71"})),
        "images": (plan, replace(case, images={**case.images, "mr": image_ref(Volume(noise(5), GRID))})),
        "annotations": (plan, replace(case, annotations=case.annotations[:-1])),
        "options": (plan_of(task={"name": "outside", "options": {"tolerance_mm": 3.0}}), case),
    }
    assert [what for what, (p, c) in others.items() if is_kept(p, c, tmp_path)] == []
    assert keys._source_digest(Outside) == keys._source_digest(Forbidden)  # of this file
    assert keys._source_digest(Outside) != keys._source_digest(Segmentation)
    assert keys._source_digest(int) is None


def test_cases_that_cannot_be_used_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    good, constant = case_of("good"), make_case("flat", Volume(np.zeros(GRID.shape), GRID))
    unlabelled = replace(case_of("unlabelled", 3), annotations=())
    lost = Case("lost", "p", {"ct": nifti_ref("ct", tmp_path / "none.nii", "CT")})
    missing = Case("missing", "p", {"pet": image_ref(Volume(noise(1), GRID))})
    cases = [constant, good, unlabelled, lost, missing]
    done: list[tuple[int, int]] = []
    with caplog.at_level(logging.WARNING):
        found, problems = prepare_cached(
            Pipeline(plan_of()), cases, CaseCache(tmp_path / "cache"), progress=lambda *n: done.append(n)
        )
    assert [s.case.id for s in found] == ["good"]
    assert done == [(k, 5) for k in range(1, 6)]
    _, plain = prepare_cached(Pipeline(plan_of()), cases, None)
    assert [(p.case, p.kind) for p in problems] == [(p.case, p.kind) for p in plain]
    assert [p.case for p in problems] == ["flat", "unlabelled", "lost", "missing"]
    for problem in problems:
        assert isinstance(problem, CaseProblem)
        assert problem.text.startswith(f"case {problem.case}: ")
        assert any(problem.text in r.message for r in caplog.records)
    assert "cannot be read" in problems[2].text
    assert len(entries(tmp_path / "cache")) == 1


def test_without_a_cache_all_is_in_memory() -> None:
    pipeline, case = Pipeline(plan_of()), case_of("a")
    found, problems = prepare_cached(pipeline, [case], None, memory_bytes=0)
    wanted = pipeline.prepare(case, targets=True)
    same(found[0], wanted)
    same(found.whole(0), wanted)
    same_sites(found.sites(0), pipeline.task.sites(wanted.targets))
    assert (len(found), found.held, problems) == (1, 1, ())


def test_predicting_needs_no_truth(tmp_path: Path) -> None:
    pipeline, case = Pipeline(plan_of()), replace(case_of("a"), annotations=())
    found, problems = prepare_cached(pipeline, [case], CaseCache(tmp_path), targets=False)
    same(found[0], pipeline.prepare(case))
    assert (dict(found.sites(0)), problems) == ({}, ())


def test_a_cache_that_cannot_be_written_is_not_taken_for_a_bad_case(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CacheError, match="give another cache folder"):
        prepare_cached(Pipeline(plan_of()), [case_of("a")], CaseCache(tmp_path / "file"))


def test_files_that_change_while_they_are_read_make_no_entry(tmp_path: Path) -> None:
    path = tmp_path / "a.nii"
    case, label = files(tmp_path, "a")

    class Slow(Pipeline):
        def prepare(self, case: Case, *, targets: bool = False) -> Sample:
            sample = super().prepare(case, targets=targets)
            nibabel.save(nibabel.Nifti1Image(noise(9).astype(np.float32).T, np.diag([1, 1, 5, 1])), path)
            return sample

    found, problems = prepare_cached(Slow(plan_of()), [case], CaseCache(tmp_path / "cache"))
    assert len(found) == 0
    assert "changed while they were read" in problems[0].text
    assert entries(tmp_path / "cache") == {}
    assert label.exists()


def files(folder: Path, name: str, seed: int = 0, grid: Grid = GRID) -> tuple[Case, Path]:
    image, label = folder / f"{name}.nii", folder / f"{name}_label.nii"
    values = noise(seed, grid).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(values.T, np.diag([1.5, 1.1, 3, 1])), image)
    nibabel.save(nibabel.Nifti1Image((values > 0.1).astype(np.uint8).T, np.diag([1.5, 1.1, 3, 1])), label)
    truth = LabelMap(image="ct", source=str(label), schema=SCHEMA, read=LabelFile(label))
    return Case(name, f"p-{name}", {"ct": nifti_ref("ct", image, "CT")}, (truth,)), label


# Forks builders of one cache, kills the first again and again at random moments, and tells what it saw.
KILLS = """
import json, os, random, signal, sys, time
from pathlib import Path
from tests.pipeline.test_cached import SCHEMA, Case, CaseCache, LabelFile, LabelMap, Pipeline, entries, nifti_ref
from tests.pipeline.test_cached import plan_of, prepare_cached
from isocenter.data import bricks

data, folder, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
cases = []
for path in sorted(p for p in data.glob("*.nii") if "label" not in p.name):
    label = path.with_name(f"{path.stem}_label.nii")
    truth = LabelMap(image="ct", schema=SCHEMA, read=LabelFile(label))
    cases.append(Case(path.stem, path.stem, {"ct": nifti_ref("ct", path, "CT")}, (truth,)))

class Noted(Pipeline):
    def prepare(self, case, *, targets=False):
        log = os.open(folder.with_name("log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(log, f"{os.getpid()} {case.id}\\n".encode())
        os.close(log)
        return super().prepare(case, targets=targets)

def build(order):
    child = os.fork()
    if child == 0:
        pack = bricks._pack
        bricks._pack = lambda values: (time.sleep(0.004), pack(values))[1]  # so that kills meet files half-written
        found, problems = prepare_cached(Noted(plan_of()), order, CaseCache(folder), workers=2)
        os._exit(0 if len(found) == len(cases) and not problems else 1)
    return child

rng = random.Random(seed)
second = build(cases)
killed, left, moments, whole, lost = [], 0, [], {}, []
while len(killed) < 5 or left == 0:
    if len(killed) == 40:
        break
    first = build(cases[::-1] if len(killed) % 2 else cases)
    moments.append(rng.uniform(0.01, 0.25))
    time.sleep(moments[-1])
    os.kill(first, signal.SIGKILL)
    ended = os.waitpid(first, 0)[1]
    if os.WIFSIGNALED(ended):
        killed.append(first)
    now = entries(folder)
    lost += [key for key, mark in whole.items() if now.get(key) != mark]
    whole |= now
    left += len(list(folder.glob("??/.*.new.*")))
    if len(now) == len(cases):
        break
code = os.waitstatus_to_exitcode(os.waitpid(second, 0)[1])
now = entries(folder)
lost += [key for key, mark in whole.items() if now.get(key) != mark]
print(json.dumps({"killed": killed, "left": left, "code": code, "lost": lost, "second": second, "entries": len(now)}))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_builders_killed_at_random_moments_beside_another(tmp_path: Path) -> None:
    """Nothing is corrupt, everything is complete, and what was whole is neither built again nor touched."""
    (tmp_path / "data").mkdir()
    cases = [files(tmp_path / "data", f"case{k:02d}", k)[0] for k in range(24)]
    command = [sys.executable, "-c", KILLS, str(tmp_path / "data"), str(tmp_path / "cache"), str(os.getpid())]
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["code"] == 0, done.stderr
    assert (said["lost"], said["entries"]) == ([], 24)
    assert len(said["killed"]) >= 3, said
    # each case was prepared again only by builders whose predecessor in it was killed
    makers: dict[str, list[int]] = {}
    for line in (tmp_path / "log").read_text().splitlines():
        maker, case = line.split()
        makers.setdefault(case, []).append(int(maker))
    assert sorted(makers) == [c.id for c in cases]
    assert {c: m for c, m in makers.items() if not set(m[:-1]) <= set(said["killed"])} == {}
    before, cache = entries(tmp_path / "cache"), CaseCache(tmp_path / "cache")
    found, problems = prepare_cached(Forbidden(plan_of()), cases, cache)
    assert (len(found), problems, entries(tmp_path / "cache")) == (24, (), before)
    assert [str(p) for p in (tmp_path / "cache").rglob(".*")] == []
    for case, sample in zip(cases, found, strict=True):
        same(sample, Pipeline(plan_of()).prepare(case, targets=True))


def test_a_damaged_entry_is_prepared_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pipeline, cases = Pipeline(plan_of()), [case_of("a"), case_of("b", 1)]
    prepare_cached(pipeline, cases, CaseCache(tmp_path))
    before = entries(tmp_path)
    hurt = next(iter(tmp_path.glob("??/*/0.bricks")))
    data = bytearray(hurt.read_bytes())
    data[len(data) // 2] ^= 16
    hurt.write_bytes(data)
    found, problems = prepare_cached(pipeline, cases, CaseCache(tmp_path), memory_bytes=0)
    assert problems == ()
    for sample, case in zip(found, cases, strict=True):
        same(sample, pipeline.prepare(case, targets=True))
    assert [r.message for r in caplog.records if "is damaged (0.bricks differs from its hash)" in r.message]
    changed = {key for key, mark in entries(tmp_path).items() if before[key] != mark}
    assert changed == {hurt.parent.name}
