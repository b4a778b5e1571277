"""Builds the documentation as a site: ``python docs/build.py``, into ``build/site``.

The pages are the Markdown files of the checkout, and a reference that is written from the code:
every command's options, and the entries of every kind of file. Needs ``pip install -e '.[docs]'``.
"""

from __future__ import annotations

import argparse
import html
import importlib
import inspect
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ROOT / "build" / "pages"

_LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)#\s]+)(#[^)\s]*)?\)")
_BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:    .*\n|\n)+)", re.MULTILINE)
_ROLE = re.compile(r":\w+:`~?([^`]+)`")
_KINDS = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def main() -> int:
    """Write the pages and build the site; the exit status of the builder."""
    write_pages()
    command = [sys.executable, "-m", "zensical", "build", "--clean", "--strict"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def write_pages() -> None:
    """Write all pages as Markdown.

    Raises:
        SystemExit: A page links to a file that does not exist.
    """
    shutil.rmtree(PAGES, ignore_errors=True)
    PAGES.mkdir(parents=True)
    sources = {ROOT / "README.md": "index.md", ROOT / "results" / "README.md": "our-results.md"}
    sources |= {path: path.name for path in sorted((ROOT / "docs").glob("*.md"))}
    sources |= {
        ROOT / name: name.lower() for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
    }
    for source, page in sources.items():
        (PAGES / page).write_text(_relinked(source, sources), encoding="utf-8")
    (PAGES / "commands.md").write_text("\n".join(_commands()), encoding="utf-8")
    (PAGES / "files.md").write_text("\n".join(_files()), encoding="utf-8")


def _relinked(source: Path, pages: dict[Path, str]) -> str:
    """A page whose links lead to other pages; links to other files become their paths."""

    def relink(match: re.Match[str]) -> str:
        mark, label, target, anchor = match.groups()
        if ":" in target:
            return match[0]
        path = (source.parent / target).resolve()
        if path in pages:
            return f"[{label}]({pages[path]}{anchor or ''})"
        if mark:
            shutil.copy(path, PAGES / path.name)
            return f"![{label}]({path.name})"
        if not path.exists():
            raise SystemExit(f"'{source}' links to '{target}', which does not exist.")
        return f"{label} (`{path.relative_to(ROOT)}`)"

    return _LINK.sub(relink, source.read_text(encoding="utf-8"))


def _commands() -> Iterator[str]:
    """The options of every command."""
    from backbones import evaluate, train
    from transfer.cli.main import COMMANDS, SUMMARIES

    yield "# Commands\n"
    for name, summary in SUMMARIES.items():
        parser = argparse.ArgumentParser(prog=f"transfer {name}", description=summary)
        importlib.import_module(COMMANDS[name]).add_arguments(parser)
        yield from _command(parser)
    yield from _command(train.build_parser())
    yield from _command(evaluate.build_parser())


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"\n## {parser.prog}\n"
    yield f"{(parser.description or '').strip()}\n"
    formatter = argparse.HelpFormatter(parser.prog, max_help_position=30, width=78)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    yield f"```\n{formatter.format_help().strip()}\n```\n"
    yield "| option | meaning |\n|---|---|"
    for action in parser._actions:
        if action.help == argparse.SUPPRESS or action.dest == "help":
            continue
        names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.dest}`"
        text = (action.help or "") % {**vars(action), "prog": parser.prog}
        chosen = f"one of {', '.join(map(str, action.choices))}" if action.choices else ""
        yield f"| {names} | {_cell('; '.join(filter(None, (text, chosen))))} |"


def _files() -> Iterator[str]:
    """The entries of every kind of file that users write."""
    yield "# Files\n\nAll of them are TOML.\n"
    for title, module in (
        ("A backbone", "backbones.zoo.user_file"),
        ("A suite", "transfer.plan.suites"),
        ("A data set", "transfer.datasets.catalogue"),
        ("A suite of classifiers", "backbones.training.suite"),
    ):
        loaded = importlib.import_module(module)
        yield f"\n## {title}\n\n{_markdown(inspect.getdoc(loaded) or '')}\n"
        if form := getattr(loaded, "FORM", None):
            yield "| entry | value |\n|---|---|"
            yield from (f"| `{name}` | {kind} |" for name, kind in _entries(form, ""))


def _entries(form: dict[str, Any], before: str) -> Iterator[tuple[str, str]]:
    for name, kind in form.items():
        if isinstance(kind, dict):
            yield from _entries(kind, f"{before}{name}.")
        elif isinstance(kind, list) and isinstance(kind[0], dict):
            yield f"{before}{name}", "list of tables"
            yield from _entries(kind[0], f"{before}{name}[].")
        elif isinstance(kind, list):
            yield f"{before}{name}", f"list; each a {_KINDS[kind[0]]}"
        else:
            yield f"{before}{name}", _KINDS[kind]


def _markdown(text: str) -> str:
    """A docstring in Markdown."""
    text = _ROLE.sub(r"`\1`", text).replace("``", "`") + "\n"
    return _BLOCK.sub(lambda m: f"```{m[1]}\n{inspect.cleandoc(m[2])}\n```\n\n", text)


def _cell(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


if __name__ == "__main__":
    raise SystemExit(main())
