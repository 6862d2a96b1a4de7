"""What mkdocs runs before it builds: the navigation from the folders, and one reference page for each room.

A new page or room appears without an entry anywhere. A page's title is its first heading; `index.md` comes first.
"""

from __future__ import annotations

from pathlib import Path

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


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Make the navigation from the folders."""
    docs = Path(config.docs_dir)
    nav: list[str | dict[str, str | list[str]]] = ["index.md"]
    for title, folder in PARTS.items():
        pages = sorted((docs / folder).rglob("*.md"), key=lambda page: (page.name != "index.md", page.as_posix()))
        entries = [page.relative_to(docs).as_posix() for page in pages]
        if folder == "reference":
            entries += [f"reference/{room}.md" for room in ("isocenter", *rooms())]
        nav.append({title: list(entries)})
    config.nav = [*nav, "benchmarks.md"]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add one reference page for the public face and for each room."""
    face = "# isocenter\n\n::: isocenter\n    options:\n      members: false\n"
    files.append(File.generated(config, "reference/isocenter.md", content=face))
    for room in rooms():
        text = f"# isocenter.{room}\n\n::: isocenter.{room}\n"
        files.append(File.generated(config, f"reference/{room}.md", content=text))
    return files
