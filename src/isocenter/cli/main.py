"""Entry point. Starts fast: a verb's work is imported when the verb runs."""

from __future__ import annotations

import os
import sys
from importlib import import_module

import typer

from isocenter import __version__
from isocenter.cli import convert, deidentify, demo, evaluate, fit, inspect, plan, predict, search, simulate
from isocenter.errors import ConfigError, IsocenterError

__all__ = ["app", "main"]

STOPPED = 130
"""Exit code after Ctrl-C, as shells have it."""

app = typer.Typer(
    name="isocenter",
    help="Deep learning for medical images: from a folder of scans to a model, from a study to a checked result.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

for verb in (inspect, convert, deidentify, simulate, plan, search, fit, evaluate, predict, demo):
    app.command(name=verb.__name__.rpartition(".")[2])(verb.command)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"isocenter {__version__}")
        raise typer.Exit


def _plugins(modules: list[str] | None) -> None:
    for name in modules or ():
        try:
            sys.path.insert(0, os.getcwd())
            import_module(name)
        except ImportError as error:
            raise ConfigError(f"--plugin {name}: cannot be imported ({error})") from None
        finally:
            sys.path.pop(0)


@app.callback()
def _root(
    plugin: list[str] = typer.Option(
        None,
        "--plugin",
        metavar="MODULE",
        callback=_plugins,
        help="Import a module first that registers networks, tasks, strategies or layouts; repeatable.",
    ),
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version and leave."
    ),
) -> None:
    """Verbs: see below."""


def main() -> None:
    """Run the command line; what a user can mend becomes one line and exit code 2."""
    try:
        code = app(standalone_mode=False)
    except IsocenterError as error:
        typer.echo(f"isocenter: {' '.join(str(error).split())}", err=True)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    except Exception as error:
        # usage errors of the command line parser know how to show themselves
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(getattr(error, "exit_code", 2))
    if code == STOPPED:  # the parser makes this of Ctrl-C
        typer.echo("isocenter: stopped", err=True)
    sys.exit(code if isinstance(code, int) else 0)
