"""Plans on disk and changes by dotted key: the same plan back, or one line that names what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from isocenter.errors import PlanError
from isocenter.plan import (
    AugmentationSpec,
    InferenceSpec,
    InputSpec,
    IntensitySpec,
    NetworkSpec,
    Plan,
    PreprocessSpec,
    StructureSpec,
    TaskSpec,
    TrainingSpec,
    dump_plan,
    parse_plan,
    read_plan,
    set_values,
    write_plan,
)

PLAN = Plan(
    name="thorax – 胸部",
    inputs=(InputSpec(name="ct", modality="CT"), InputSpec(name="pet", modality="PT", channels=2, required=False)),
    preprocess=PreprocessSpec(
        reference="ct",
        orientation="SPL",
        spacing_mm=(0, 1.25, 1e-3),
        interpolation="cubic",
        intensity={"ct": IntensitySpec(scheme="fixed", lower=-1000, upper=400.5, mean=-3e-7, std=1e9)},
    ),
    network=NetworkSpec(dimensions=2, options={"strides": [[1, 1, 1], [1, 2, 2]], "norm": "batch", "deep": {"a": 1}}),
    task=TaskSpec(
        structures=(
            StructureSpec(name="lung_left", values=(1, 4), mirror="lung_right", code=("39607008", "SCT", "Lung")),
            StructureSpec(name="lung_right", values=(2,), mirror="lung_left", colour=(1, 2, 3)),
        ),
        ignore=9,
        options={"levels": 2},
    ),
    training=TrainingSpec(
        patch=(1, 64, 64), learning_rate=1e-5, augmentation=AugmentationSpec(mirror=(2,), rotation_deg=(25, 0, 0))
    ),
    inference=InferenceSpec(window=(1, 64, 64), largest_component=("lung_left",)),
    reasons={"training.batch": "on: a colon, a #, 'quotes' and\ntwo lines"},
)
text_values = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20)


def test_yaml_gives_the_same_plan_back(tmp_path: Path) -> None:
    assert parse_plan(dump_plan(PLAN)) == PLAN
    file = tmp_path / "new" / "plan.yaml"
    write_plan(PLAN, file)
    assert read_plan(file) == PLAN
    assert [p.name for p in file.parent.iterdir()] == ["plan.yaml"]
    assert dump_plan(read_plan(file)) == dump_plan(PLAN)


@given(
    st.builds(
        TrainingSpec,
        steps=st.integers(1, 10**9),
        learning_rate=st.floats(1e-300, 1e300),
        weight_decay=st.floats(0, 1e300),
        foreground=st.floats(0, 1),
        ema=st.floats(0, 1, exclude_max=True),
        seed=st.integers(0, 2**32 - 1),
        precision=st.sampled_from(["auto", "fp32", "bf16"]),
        strategy=text_values,
    ),
    st.dictionaries(text_values, text_values | st.integers() | st.booleans() | st.none() | st.lists(st.integers())),
    st.dictionaries(text_values, text_values),
)
def test_any_plan_survives_yaml(training: TrainingSpec, options: dict, reasons: dict) -> None:
    plan = Plan(
        inputs=(InputSpec(name="x"),), preprocess=PreprocessSpec(reference="x"), training=training,
        network=NetworkSpec(options=options), reasons=reasons,
    )  # fmt: skip
    assert parse_plan(dump_plan(plan)) == plan


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("training.steps=500", "training.steps", 500),
        ("training.learning_rate=1e-3", "training.learning_rate", 1e-3),
        (" training.learning_rate = 0.5", "training.learning_rate", 0.5),
        ("training.patch=[1, 32, 48]", "training.patch", (1, 32, 48)),
        ("training.precision=bf16", "training.precision", "bf16"),
        ("preprocess.spacing_mm=null", "preprocess.spacing_mm", None),
        ("preprocess.orientation=LPS", "preprocess.orientation", "LPS"),
        ("preprocess.intensity.ct.lower=-500", "preprocess.intensity.ct.lower", -500.0),
        ("task.exclusive=false", "task.exclusive", False),
        ("training.augmentation.noise=0.25", "training.augmentation.noise", 0.25),
        ("network.options.stem=[1, 2, 2]", "network.options.stem", [1, 2, 2]),
        ("network.options.deep.a=7", "network.options.deep.a", 7),
        ("task.options.new=yes", "task.options.new", True),
        ("name=a=b", "name", "a=b"),
        ("reasons.training.batch=0.5", None, None),
    ],
)
def test_set_reads_values_as_yaml_and_notes_who_set_them(text: str, key: str | None, value: object) -> None:
    if key is None:
        with pytest.raises(PlanError, match="unknown key"):
            set_values(PLAN, [text])
        return
    changed = set_values(PLAN, [text])
    here: object = changed
    for part in key.split("."):
        here = here[part] if isinstance(here, dict) else getattr(here, part)
    assert here == value
    assert type(here) is type(value)
    assert changed.reasons[key] == "set by hand"
    rest = {k: v for k, v in changed.reasons.items() if k != key}
    assert rest == {k: v for k, v in PLAN.reasons.items() if k != key}
    assert parse_plan(dump_plan(PLAN)) == PLAN, "the plan it started from is as it was"


def test_several_values_are_set_at_once_and_the_last_word_counts() -> None:
    changed = set_values(PLAN, {"training.steps": 7, "training.batch": 3})
    assert (changed.training.steps, changed.training.batch) == (7, 3)
    assert set_values(PLAN, ["training.steps=7", "training.steps=8"]).training.steps == 8
    assert set_values(PLAN, []) == PLAN


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("training.stepz=5", r"unknown key 'training.stepz'.*'training.steps'"),
        ("trainig.steps=5", r"unknown key 'trainig'.*'training'"),
        ("steps=5", r"unknown key 'steps'.*'training.steps'"),
        ("training.augmentation.rotation=5", r"unknown key.*'training.augmentation.rotation_deg'"),
        ("preprocess.intensity.ct.lowr=5", r"unknown key.*'preprocess.intensity.ct.lower'"),
        ("training.steps.x=5", "unknown key 'training.steps.x'"),
        ("=5", "unknown key ''"),
        ("training.steps", "expected KEY=VALUE"),
        ("training.steps=[1", "not valid YAML"),
        ("training.steps=many", r"training.steps: .*integer.*'many'"),
        ("training.steps=", r"training.steps: .*None"),
        ("training.seed=4294967296", "training.seed"),
        ("training.steps=0", r"training.steps: .*greater than or equal to 1.*0"),
        ("training.learning_rate=.nan", "training.learning_rate"),
        ("training.weight_decay=.inf", "training.weight_decay: .*finite"),
        ("training.foreground=1.5", r"training.foreground: .*less than or equal to 1"),
        ("training.precision=fp8", r"training.precision: .*'fp32'"),
        ("training.patch=[1, 2]", "training.patch"),
        ("training.patch=[2, 64, 64]", "one slice thick"),
        ("preprocess.reference=mr", r"'mr' is not an image of the inputs \(ct, pet\)"),
        ("preprocess.intensity.ct.lower=900", "lower 900 is above upper 400.5"),
        ("preprocess.intensity={mr: {}}", "'mr' is not an input"),
        ("inference.largest_component=[spleen]", "no structure 'spleen'"),
        ("inputs=[]", "at least one image"),
        ("inputs=[{name: ct}, {name: ct}]", "not unique"),
        ("inputs=[{nam: ct}]", r"unknown key 'inputs.0.nam'.*'inputs.0.name'|inputs.0.name"),
        ("task.ignore=1", "ignore value 1"),
        ("schema_version=2", "schema_version 2"),
        ("reasons=5", "reasons"),
        ("task=5", "task"),
    ],
)
def test_what_cannot_be_set_is_named(text: str, says: str) -> None:
    with pytest.raises(PlanError, match=says) as caught:
        set_values(PLAN, [text])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["training"].update(stepz=5), r"unknown key 'training.stepz'.*'training.steps'"),
        (lambda d: d["inputs"][0].update(modalty="CT"), r"unknown key 'inputs.0.modalty'.*'inputs.0.modality'"),
        (lambda d: d["task"]["structures"][1].update(value=3), r"'task.structures.1.value'.*structures.0.values'"),
        (lambda d: d["preprocess"]["intensity"]["ct"].update(lowr=1), r"intensity.ct.lowr'.*intensity.x.lower'"),
        (lambda d: d.update(tasks={}), r"unknown key 'tasks'.*'task'"),
        (lambda d: d.pop("inputs"), r"inputs: Field required"),
        (lambda d: d.update(schema_version=99), "schema_version 99 is not known"),
        (lambda d: d["network"].update(dimensions=4), r"network.dimensions.*4"),
        (lambda d: d["task"]["structures"][0].update(mirror="nobody"), "task: .*nobody"),
    ],
)  # fmt: skip
def test_a_file_with_a_wrong_key_or_value_is_refused(tmp_path: Path, change, says: str) -> None:
    data = yaml.safe_load(dump_plan(PLAN))
    change(data)
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    with pytest.raises(PlanError, match=says) as caught:
        read_plan(file)
    assert str(file) in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"a: [1", "not valid YAML"), (b"- 1", "mapping"), (b"", "mapping"), (b"\xff\xfe\x00x", "not (text|valid)")],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    file = tmp_path / "plan.yaml"
    file.write_bytes(content)
    with pytest.raises(PlanError, match=says):
        read_plan(file)


def test_missing_files_and_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"absent.yaml.*`isocenter plan`"):
        read_plan(tmp_path / "absent.yaml")
    with pytest.raises(PlanError, match="cannot be read"):
        read_plan(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(PlanError, match="cannot be written"):
        write_plan(PLAN, tmp_path / "file" / "plan.yaml")


def test_a_failed_write_leaves_the_old_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "plan.yaml"
    write_plan(PLAN, file)

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(PlanError, match="No space left"):
        write_plan(set_values(PLAN, ["training.steps=3"]), file)
    assert read_plan(file) == PLAN
    assert [p.name for p in tmp_path.iterdir()] == ["plan.yaml"]


def test_tags_that_would_run_code_are_refused() -> None:
    with pytest.raises(PlanError, match="not valid YAML"):
        parse_plan("name: !!python/object/apply:os.system ['true']")


def test_the_task_gives_its_schema_back() -> None:
    schema = PLAN.task.schema_
    assert schema.names == ("lung_left", "lung_right")
    assert schema["lung_left"].code.meaning == "Lung"
    assert TaskSpec.structures_of(schema) == PLAN.task.structures
