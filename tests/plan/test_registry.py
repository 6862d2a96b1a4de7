"""Plug-ins by name: from decorators, from the package itself, from entry points of other packages."""

from __future__ import annotations

import sys
import threading
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from isocenter.errors import PlanError
from isocenter.plan import Registry


def builder() -> str:
    return "built"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that registers ``inner`` when it is imported, slowly."""
    (tmp_path / "shape_home.py").write_text(
        "import time\nimport shape_registry\ntime.sleep(0.05)\nshape_registry.shapes.register('inner')(print)\n"
    )
    (tmp_path / "shape_registry.py").write_text(
        "from isocenter.plan import Registry\nshapes = Registry('shape', home='shape_home')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "shape_registry"
    for name in ("shape_home", "shape_registry"):
        sys.modules.pop(name, None)


def offer(monkeypatch: pytest.MonkeyPatch, *points: EntryPoint) -> None:
    """Entry points as installed packages would state them."""
    monkeypatch.setattr("isocenter.plan.registry.entry_points", lambda **wanted: EntryPoints(points).select(**wanted))


def test_the_decorator_gives_back_what_it_registers() -> None:
    shapes: Registry[object] = Registry("shape")
    assert shapes.register("ball")(builder) is builder
    assert shapes["ball"] is builder
    assert "ball" in shapes
    assert "cube" not in shapes
    assert shapes.names() == ("ball",)


def test_a_name_is_given_once_but_a_module_may_be_loaded_again() -> None:
    shapes: Registry[object] = Registry("shape")
    shapes.register("ball")(builder)
    shapes.register("ball")(builder)

    def other() -> None: ...

    with pytest.raises(PlanError, match=r"shape 'ball' is already registered by .*builder"):
        shapes.register("ball")(other)
    assert shapes["ball"] is builder


def test_an_unknown_name_comes_with_the_nearest_and_with_all() -> None:
    shapes: Registry[object] = Registry("shape")
    shapes.register("ball")(builder)
    shapes.register("cube")(builder)
    with pytest.raises(PlanError, match=r"no shape 'bal' \(did you mean 'ball'\?\); there are: ball, cube"):
        shapes["bal"]
    with pytest.raises(PlanError, match=r"no shape 'zzz'; there are: ball, cube"):
        shapes["zzz"]


@pytest.mark.parametrize(
    ("kind", "group"),
    [("network", "networks"), ("strategy", "strategies"), ("task", "tasks"), ("loss", "losses")],
)
def test_entry_points_of_the_group_are_found_and_loaded_when_asked_for(monkeypatch, kind: str, group: str) -> None:
    offer(
        monkeypatch,
        EntryPoint("far", "json:dumps", f"isocenter.{group}"),
        EntryPoint("stranger", "json:loads", "isocenter.shapes"),
        EntryPoint("broken", "no_such_module_at_all:thing", f"isocenter.{group}"),
        EntryPoint("hollow", "json:no_such_function", f"isocenter.{group}"),
    )
    import json

    registry: Registry[object] = Registry(kind)
    registry.register("near")(builder)
    assert registry.names() == ("broken", "far", "hollow", "near")
    assert registry["far"] is json.dumps
    with pytest.raises(PlanError, match="stranger"):
        registry["stranger"]
    for name in ("broken", "hollow"):
        with pytest.raises(PlanError, match=rf"{kind} '{name}'.*cannot be loaded"):
            registry[name]


def test_what_is_registered_wins_over_an_entry_point_of_its_name(monkeypatch) -> None:
    offer(monkeypatch, EntryPoint("ball", "json:dumps", "isocenter.shapes"))
    shapes: Registry[object] = Registry("shape")
    shapes.register("ball")(builder)
    assert shapes["ball"] is builder


def test_the_home_is_imported_when_a_name_is_asked_for_first(home: str) -> None:
    registry = __import__(home).shapes
    assert "shape_home" not in sys.modules
    assert registry["inner"] is print


def test_threads_that_ask_at_once_all_find_what_home_registers(home: str) -> None:
    registry = __import__(home).shapes
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(registry["inner"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [print] * 8


def test_a_home_that_fails_fails_every_time() -> None:
    shapes: Registry[object] = Registry("shape", home="no_such_home_module")
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError):
            shapes["ball"]


def test_the_networks_tasks_and_strategies_of_the_package_are_there() -> None:
    from isocenter.networks import networks
    from isocenter.tasks import tasks
    from isocenter.training import strategies

    assert "unet" in networks
    assert {"segmentation", "classification", "detection"} <= set(tasks.names())
    assert "supervised" in strategies
