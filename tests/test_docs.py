"""Every code block of the documentation is true: it runs, parses, or names verbs and options that exist."""

from __future__ import annotations

import csv
import importlib
import io
import json
import re
import shlex
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
LANGUAGES = {"python", "bash", "yaml", "json", "toml", "csv", "text"}
FENCE = re.compile(r"^(?P<indent>[ \t]*)(?P<ticks>`{3,}|~{3,})\s*(?P<info>.*)$")
SKIP = re.compile(r"<!--\s*skip:(?P<reason>.*?)-->")
UNTIL = re.compile(r"until (?P<module>isocenter[\w.]*) exists")
LINK = re.compile(r"\]\((?P<target>[^)#\s]+)")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int  # of its first line of code, from 1
    language: str
    code: str
    skip: str | None  # the reason, where the block is marked

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def skipped(self) -> bool:
        """Marked, and the module that its reason waits for, if any, is still absent."""
        wait = UNTIL.search(self.skip or "")
        return self.skip is not None and not (wait and exists(wait["module"]))


def exists(module: str) -> bool:
    """Whether a module can be imported; a folder without `__init__.py` is none."""
    try:
        spec = find_spec(module)
    except ModuleNotFoundError:
        return False
    return spec is not None and spec.origin is not None


def blocks_of(page: Path, text: str) -> list[Block]:
    found: list[Block] = []
    before, opening, code, start = "", None, [], 0
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if opening is None:
            if fence:
                opening, code, start = fence, [], number + 1
            elif line.strip():
                before = line
        elif fence and fence["ticks"].startswith(opening["ticks"]) and not fence["info"]:
            mark = SKIP.search(before)
            language = (opening["info"].split() or [""])[0]
            body = "\n".join(part.removeprefix(opening["indent"]) for part in code) + "\n"
            found.append(Block(page, start, language, body, mark["reason"].strip() if mark else None))
            before, opening = "", None
        else:
            code.append(line)
    assert opening is None, f"{page}: the code block that starts at line {start} is not closed"
    return found


BLOCKS = [block for page in PAGES for block in blocks_of(page, page.read_text(encoding="utf-8"))]


def of_language(*languages: str) -> list[Any]:
    return [pytest.param(block, id=block.where) for block in BLOCKS if block.language in languages]


def test_every_block_says_a_known_language() -> None:
    assert [f"{block.where}: {block.language!r}" for block in BLOCKS if block.language not in LANGUAGES] == []


def test_every_skip_gives_a_reason() -> None:
    assert [block.where for block in BLOCKS if block.skip == ""] == []


@pytest.mark.parametrize(
    "page", [p for p in PAGES if any(b.page == p and b.language == "python" for b in BLOCKS)], ids=str
)
def test_python_blocks_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of one page share a namespace and a folder; a traceback names the page and its line."""
    blocks = [block for block in BLOCKS if block.page == page and block.language == "python"]
    if all(block.skipped for block in blocks):
        pytest.skip(f"{page.name}: {blocks[0].skip}")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "docs_page"}
    for block in blocks:
        code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
        if not block.skipped:
            exec(code, names)


@pytest.mark.parametrize("block", of_language("yaml", "json", "toml", "csv"))
def test_data_blocks_parse(block: Block) -> None:
    if block.language == "yaml":
        assert yaml.safe_load(block.code) is not None
    elif block.language == "json":
        json.loads(block.code)
    elif block.language == "toml":
        assert tomllib.loads(block.code)
    else:
        assert len({len(row) for row in csv.reader(io.StringIO(block.code))}) == 1, "rows of different lengths"


@pytest.mark.parametrize("block", of_language("bash"))
def test_bash_blocks_are_true(block: Block) -> None:
    done = subprocess.run(["bash", "-n"], input=block.code, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    verbs = []
    for command in commands(block.code):
        if command[0] == "make":
            unknown = {word for word in command[1:] if "=" not in word} - make_targets()
            assert not unknown, f"the Makefile has no target {', '.join(unknown)}"
        elif Path(command[0]).name == "isocenter":
            verbs.append(command[1:])
        elif any(word.endswith(".py") for word in command[:2]):
            script = next(word for word in command if word.endswith(".py"))
            assert (ROOT / script).exists(), f"no script {script}"
    if verbs and not exists("isocenter.cli.main"):
        pytest.skip("isocenter.cli.main does not exist yet, so its verbs cannot be checked")
    for words in verbs:
        problem = cli_problem(words)
        assert problem is None, f"isocenter {shlex.join(words)}: {problem}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_files_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    targets = [found["target"] for found in LINK.finditer(text) if "://" not in found["target"]]
    assert [t for t in targets if not (page.parent / t).exists() and not generated(page.parent / t)] == []


def generated(page: Path) -> bool:
    """Reference pages that are made while the documentation is built, which checks links to them as well."""
    room = page.stem in ("command-line", "isocenter") or exists(f"isocenter.{page.stem}")
    return page.resolve().parent == ROOT / "docs" / "reference" and room


def test_the_benchmark_page_is_what_the_script_makes() -> None:
    assert render_module().render() == (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8"), (
        "docs/benchmarks.md differs from the results; run: python benchmarks/render.py"
    )


def test_benchmark_results_become_a_table(tmp_path: Path) -> None:
    render = render_module().render
    assert "No results yet" in render(tmp_path)
    row = {"name": "windows a second", "value": 12.34567, "unit": "1/s", "spread": [11.0, 13.5]}
    result = {"title": "Inference", "machine": "2 cores", "versions": {"torch": "2.13.0"}, "rows": [row]}
    result["rows"] += [{"name": "ratio", "value": 2, "unit": "", "spread": None, "target": 3.0, "reached": False}]
    (tmp_path / "inference.json").write_text(json.dumps(result), encoding="utf-8")
    page = render(tmp_path)
    assert "## Inference" in page
    assert "| windows a second | 12.35 | 1/s | 11 to 13.5 |  |  |" in page
    assert "| ratio | 2 |  |  | 3 | **no** |" in page
    assert "Measured on: 2 cores; torch 2.13.0." in page


def test_blocks_are_found_with_their_marks() -> None:
    text = "a\n\n<!-- skip: takes an hour -->\n```python\nx = 1\n```\n\n  ~~~bash\n  ls\n  ~~~\n```\nplain\n```\n"
    first, second, third = blocks_of(ROOT / "page.md", text)
    assert (first.language, first.code, first.line, first.skip) == ("python", "x = 1\n", 5, "takes an hour")
    assert (second.language, second.code, second.skip) == ("bash", "ls\n", None)
    assert (third.language, third.skip) == ("", None)
    assert first.skipped
    waits = Block(ROOT / "page.md", 1, "python", "", "until isocenter.volume exists")
    assert not waits.skipped


def test_command_lines_are_split_as_a_shell_would() -> None:
    code = "# a comment\nmake demo \\\n  PIP_ARGS='--a b'  # why\nA=1 isocenter plan x | tee log && isocenter fit x\n"
    assert list(commands(code)) == [
        ["make", "demo", "PIP_ARGS=--a b"],
        ["isocenter", "plan", "x"],
        ["tee", "log"],
        ["isocenter", "fit", "x"],
    ]


@pytest.mark.skipif(not exists("isocenter.cli.main"), reason="isocenter.cli.main does not exist yet")
def test_wrong_verbs_and_options_are_noticed() -> None:
    assert cli_problem(["--help"]) is None
    assert cli_problem(["inspekt", "folder"]) is not None
    assert cli_problem(["inspect", "folder", "--no-such-option"]) is not None


def commands(code: str) -> list[list[str]]:
    """The simple commands of a shell script, as lists of words, without assignments before them."""
    found = []
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if set(word) <= set("|&;"):
                if command:
                    found.append(command)
                command = []
            elif command or not re.match(r"\w+=", word):
                command.append(word)
    return found


@cache
def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))


@cache
def cli() -> Any:
    """The command line as a click command; `isocenter.cli.main.app` may be a Typer application or a click command."""
    import typer

    app = importlib.import_module("isocenter.cli.main").app
    return typer.main.get_command(app) if isinstance(app, typer.Typer) else app


def cli_problem(words: list[str]) -> str | None:
    """What is wrong with a verb and its options, or None; values and existence of files are not looked at."""
    command, context, rest = cli(), None, list(words)
    name = "isocenter"
    try:
        while True:
            context = command.context_class(command, info_name=name, parent=context)
            _, rest, _ = command.make_parser(context).parse_args(rest)
            if not rest or not hasattr(command, "get_command"):
                return f"unexpected {shlex.join(rest)}" if rest else None
            name, rest = rest[0], rest[1:]
            command = command.get_command(context, name)
            if command is None:
                return f"no verb {name!r}"
    except Exception as error:  # typer carries its own copy of click, whose errors have no public name
        if not hasattr(error, "format_message"):
            raise
        return str(error.format_message())


@cache
def render_module() -> Any:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        return importlib.import_module("render")
    finally:
        sys.path.pop(0)
