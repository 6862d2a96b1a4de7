"""What importing costs, what the public face offers, and that every dependency is declared."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import time
import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest

import isocenter

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ("torch", "monai", "lightning")
HELP_SECONDS = 0.4

PACKAGE = Path(isocenter.__file__).parent
needs_cli = pytest.mark.skipif(not (PACKAGE / "cli" / "main.py").exists(), reason="isocenter.cli does not exist yet")


def run_python(code: str) -> str:
    """What a fresh interpreter prints for some code."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def loaded_heavy(code: str) -> str:
    return run_python(f"{code}\nimport sys\nprint(*[m for m in {HEAVY} if m in sys.modules])")


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_heavy("import isocenter") == ""


@needs_cli
def test_help_loads_nothing_heavy() -> None:
    code = (
        "import contextlib, io, sys\n"
        "sys.argv = ['isocenter', '--help']\n"
        "from isocenter.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):\n"
        "    main()\n"
        "if 'Usage' not in shown.getvalue():\n"
        "    raise SystemExit('no help was shown')"
    )
    assert loaded_heavy(code) == ""


@needs_cli
def test_help_is_quick() -> None:
    command = [sys.executable, "-c", "from isocenter.cli.main import main; main()", "--help"]
    best = float("inf")
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, timeout=60)
        best = min(best, time.perf_counter() - start)
    assert best < HELP_SECONDS, f"isocenter --help takes {best:.2f} s, best of 5"


def test_every_public_name_resolves() -> None:
    assert {name for name in isocenter.__all__ if not hasattr(isocenter, name)} == set()
    assert set(isocenter.__all__) <= set(dir(isocenter))


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Volumes'"):
        isocenter.Volumes  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    """The names that are loaded lazily are also imported, from the same rooms, for type checkers."""
    face = ast.parse(Path(isocenter.__file__).read_text(encoding="utf-8"))
    block = next(n for n in face.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING")
    imports = [n for n in block.body if isinstance(n, ast.ImportFrom) and (n.module or "").startswith("isocenter")]
    assert {alias.asname: n.module for n in imports for alias in n.names} == isocenter._EXPORTS


# `volume` stands for any verb whose name is a room's too, as `plan` and `simulate` are.
VERB = """
import inspect, sys, types
import isocenter as iso
verbs = types.ModuleType("verbs")
exec("def volume(data, *, steps: int = 3): return (data, steps)", vars(verbs))
sys.modules["verbs"] = verbs
iso._EXPORTS["volume"] = "verbs"
def check():
    if iso.volume("ct", steps=5) != ("ct", 5): raise SystemExit("not the verb")
    if str(inspect.signature(iso.volume)) != "(data, *, steps: int = 3)": raise SystemExit("not its signature")
"""


def test_a_verb_keeps_working_once_the_room_of_its_name_is_imported() -> None:
    after = "check(); import isocenter.volume; check(); print(isocenter.volume.Grid is iso.Grid)"
    assert run_python(VERB + after) == "True"


def test_a_room_can_be_imported_before_the_verb_of_its_name_is_used() -> None:
    before = "import isocenter.volume as room; check(); print(room.Grid is iso.Grid, room is iso.volume)"
    assert run_python(VERB + before) == "True True"


@pytest.mark.parametrize("name", sorted(n for n in isocenter._EXPORTS if find_spec(f"isocenter.{n}")))
def test_verbs_that_share_a_rooms_name(name: str) -> None:
    signature = f"str(inspect.signature(iso.{name}))"
    check = f"callable(iso.{name}) and {signature}"
    first = run_python(f"import inspect, isocenter as iso\nprint({check})")
    room_first = run_python(f"import inspect, isocenter.{name}, isocenter as iso\nprint({check})")
    room_later = run_python(f"import inspect, isocenter as iso\n{check}\nimport isocenter.{name}\nprint({check})")
    assert first == room_first == room_later
    assert first.startswith("(")


def test_every_import_is_a_declared_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {_canonical(re.split(r"[\[<>=!~; ]", line)[0]) for group in groups for line in group}
    owners = packages_distributions()
    undeclared = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for module in _imported(path):
            names = {_canonical(name) for name in owners.get(module, [module])}
            if module not in sys.stdlib_module_names and module != "isocenter" and not names & declared:
                undeclared[str(path.relative_to(ROOT))] = module
    assert undeclared == {}


def test_constraints_pin_every_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.partition("==")[0] for line in lines if not line.startswith("#")]
    needed = [*project["dependencies"], *(r for group in project["optional-dependencies"].values() for r in group)]
    names = {_canonical(re.split(r"[\[<>=!~; ]", requirement)[0]) for requirement in needed} - {"isocenter"}
    assert names - {_canonical(pin) for pin in pins} == set()
    assert pins == sorted(pins, key=_canonical)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _imported(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            modules.add(node.module.partition(".")[0])
    return modules
