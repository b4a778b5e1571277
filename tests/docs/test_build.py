"""The site's pages: the reference comes from the code, and links lead to pages."""

import argparse
import importlib.util
import re
from pathlib import Path

import pytest

from transfer.driver import arguments

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def build(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("docs_build", ROOT / "docs" / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "PAGES", tmp_path / "pages")
    return module


def test_the_reference_has_every_option_and_every_entry(build):
    build.write_pages()
    commands = (build.PAGES / "commands.md").read_text()
    parser = argparse.ArgumentParser()
    arguments.add_arguments(parser)
    of_run = commands[commands.index("## transfer run") : commands.index("## transfer backbones")]
    for action in parser._actions:
        if action.help != argparse.SUPPRESS and action.dest != "help":
            assert f"| `{action.option_strings[0]}" in of_run
    assert "<name>" not in re.sub(r"```.*?```", "", commands, flags=re.DOTALL), "no raw HTML"
    files = (build.PAGES / "files.md").read_text()
    assert "| `detection.train[].suffix` | text |" in files
    assert "```toml\nkind" in files


def test_links_lead_to_pages_and_files_that_exist(build):
    build.write_pages()
    pages = sorted(build.PAGES.glob("*.md"))
    assert "index.md" in {page.name for page in pages}
    for page in pages:
        for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
            assert ":" in target or (build.PAGES / target).is_file(), (page.name, target)


def test_a_link_to_nothing_stops_the_build(build, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("[gone](gone.md)")
    with pytest.raises(SystemExit, match=r"gone\.md"):
        build._relinked(page, {})
