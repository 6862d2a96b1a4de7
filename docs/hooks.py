"""What mkdocs runs while it builds: the navigation from the folders, and reference pages: the command line, each room.

A new page or room appears without an entry anywhere. A page's title is its first heading; pages stand in the order in
which the `index.md` of their folder names them.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "isocenter"
PARTS = {
    "Tutorials": "tutorials",
    "How-to guides": "how-to",
    "Concepts": "concepts",
    "Reference": "reference",
    "Decisions": "decisions",
}


def rooms() -> list[str]:
    """Names of the package's rooms that exist, in alphabetical order."""
    return sorted(init.parent.name for init in PACKAGE.glob("*/__init__.py"))


def public_names() -> list[tuple[str, str]]:
    """Names of the public face and the rooms that hold them."""
    face = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    tables = [n for n in face.body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "_EXPORTS"]
    return sorted(ast.literal_eval(tables[0].value).items())


def reading_order(page: Path) -> int:
    """Where the index of the folder names a page; the index itself is first, pages that it does not name are last."""
    index = page.with_name("index.md").read_text(encoding="utf-8")
    place = index.find(f"]({page.name})")
    return -1 if page.name == "index.md" else place if place >= 0 else len(index)


def hidden_names(room: str) -> list[str]:
    """Functions that share the name of their module; the reference would show the module in their place."""
    init = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    imports = [node for node in init.body if isinstance(node, ast.ImportFrom)]
    return [a.name for node in imports for a in node.names if node.module == f"isocenter.{room}.{a.name}"]


def command_line() -> str:
    """What `--help` says, of the whole and of each verb."""
    import typer

    from isocenter.cli.main import app

    group: Any = typer.main.get_command(app)
    pages = {"isocenter": group} | {f"isocenter {name}": verb for name, verb in group.commands.items()}
    helps = {name: verb.get_help(verb.context_class(verb, info_name=name)) for name, verb in pages.items()}
    parts = [f"## {name}\n\n```text\n{text}\n```\n" for name, text in helps.items()]
    intro = (
        "Every verb does what the function of the same name in [isocenter](isocenter.md) does. A wrong input is one"
        " line on the error stream and exit code 2, and leaves nothing half-written; Ctrl-C is exit code 130.\n"
    )
    return "\n".join(["# Command line\n", intro, *parts])


class Examples(griffe.Extension):
    """Shows a docstring's `Example:` as code, as the plural is shown."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        """Called for every object in a package."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)

    def on_package(self, *, pkg: griffe.Module, **_: object) -> None:
        """Called for the package itself."""
        self.on_object(obj=pkg)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the navigation from the folders."""
    docs = Path(config.docs_dir)
    nav: list[str | dict[str, str | list[str]]] = ["index.md"]
    for title, folder in PARTS.items():
        pages = sorted((docs / folder).rglob("*.md"), key=lambda page: (reading_order(page), page.as_posix()))
        entries = [page.relative_to(docs).as_posix() for page in pages]
        if folder == "reference":
            entries += [f"reference/{page}.md" for page in ("command-line", "isocenter", *rooms())]
        nav.append({title: list(entries)})
    config.nav = [*nav, "benchmarks.md"]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add one reference page for the public face and for each room."""
    face = "# isocenter\n\n::: isocenter\n    options:\n      members: false\n\n## Public names\n\n"
    face += "".join(f"- `{name}`, from [{room}]({room.split('.')[1]}.md)\n" for name, room in public_names())
    files.append(File.generated(config, "reference/isocenter.md", content=face))
    files.append(File.generated(config, "reference/command-line.md", content=command_line()))
    for room in rooms():
        text = f"# isocenter.{room}\n\n::: isocenter.{room}\n"
        for name in hidden_names(room):
            text += f"\n::: isocenter.{room}.{name}.{name}\n    options:\n      show_root_heading: true\n"
        files.append(File.generated(config, f"reference/{room}.md", content=text))
    return files
