import re
import shutil
import subprocess
import webbrowser
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest

from tests.support import synthetic
from transfer.cli import main

VOID = {"meta", "link", "br", "img", "input", "hr"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    for task in ("detection", "segmentation"):
        synthetic.write_suite(folder, synthetic.PAPER_ROWS, range(3), task, protocol="paper")
    synthetic.write_suite(folder, ["resnet50_baseline", "<script>alert(1)</script>"], range(1))
    (folder / "records" / "half.json").write_text('{"schema": 1')
    (folder / "notes.md").write_text(
        "## What it cannot say\n\n"
        "- **Not** [this](../docs/x.md), ![a picture](p.png) or <b>that</b>.\n"
    )
    return folder


@pytest.fixture(scope="module")
def page(results):
    assert main.main(["report", "--results", str(results)]) == 0
    return (results / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(("opens", "code"), [(True, 0), (False, 2)])
def test_open_shows_the_page_in_a_browser_where_there_is_one(
    opens, code, results, tmp_path, monkeypatch, capsys
):
    shown = []
    monkeypatch.setattr(webbrowser, "open", lambda address: shown.append(address) or opens)
    out = tmp_path / "a page.html"
    command = ["report", "--results", str(results), "--out", str(out), "--open"]
    assert main.main(command) == code
    assert shown == [out.as_uri()]
    assert (str(out) in capsys.readouterr().err) != opens


class Outline(HTMLParser):
    """Tags, ids, headings and places that a browser would fetch from."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.headings, self.fetched = [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in values:
            self.ids.append(values["id"])
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        self.fetched += [
            value for name, value in attributes
            if tag != "a" and name in ("src", "href", "xlink:href", "srcset", "action", "data")
            and value and not value.startswith(("#", "data:"))
        ]  # fmt: skip

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_fetches_nothing(page):
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    assert outline.fetched == []
    assert len(outline.ids) == len(set(outline.ids))
    assert "@import" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"url\((?!#)", page)


def test_headings_go_down_one_at_a_time(page):
    outline = Outline()
    outline.feed(page)
    assert outline.headings[0] == 1
    assert outline.headings.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(outline.headings, outline.headings[1:], strict=False))


def test_the_answer_comes_first_with_its_verdict_in_colour(page):
    chip = page.index('<span class="chip gain">gain</span> Fine-tuned on voc0712')
    picture, basis, table = (page.index(text) for text in ("<svg", "Basis.", "<table"))
    assert page.index("<h1>") < chip < picture < basis < table
    assert "6 of 6 rows gain against resnet50_baseline" in page
    assert '<span class="chip unsure">no claim</span>' in page
    assert page.count('<article class="lead"') == 3


def test_what_people_say_of_it_stands_on_the_page_as_words_alone(page):
    text = "<strong>Not</strong> this, a picture or &lt;b&gt;that&lt;/b&gt;."
    assert "<h3>What it cannot say</h3>" in page
    assert page.index("<table") < page.index(text)


def test_links_within_the_page_lead_somewhere(page):
    outline = Outline()
    outline.feed(page)
    assert set(re.findall(r'<a [^>]*href="#([^"]+)"', page)) <= set(outline.ids)


def test_names_from_records_are_text_not_markup(page):
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_what_was_left_out_and_what_was_run_is_reported(page):
    assert "half.json" in page
    assert "transfer run --backbone resnet50d_cosine --task detection --seed 2" in page
    assert "NVIDIA H200" in page
    assert "commit 9ac45b25c203" in page


def test_the_same_records_make_the_same_page(page, results):
    out = results / "again.html"
    assert main.main(["report", "--results", str(results), "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == page


@pytest.mark.parametrize("place", [".", "else where/deep"])
def test_each_record_is_linked_from_wherever_the_page_is(place, results):
    out = results / place / "p.html"
    assert main.main(["report", "--results", str(results), "--out", str(out)]) == 0
    links = re.findall(r'<a href="([^"#]+)"', out.read_text(encoding="utf-8"))
    linked = {(out.parent / unquote(link)).resolve() for link in links}
    whole = set((results / "records").glob("*.json")) - {results / "records" / "half.json"}
    assert linked == whole


def test_titles_have_no_keys_of_a_config(tmp_path):
    for lr in (0.01, 0.02):
        synthetic.write_suite(
            tmp_path, ["resnet50_baseline", "resnet50d_mixup"], seeds=range(2),
            overrides=(("optim_wrapper.optimizer.lr", lr), ("model.neck.num_outs", 4)),
        )  # fmt: skip
    assert main.main(["report", "--results", str(tmp_path)]) == 0
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    titles = re.findall(r"<(?:h3|caption|summary)[^>]*>(.*?)</", text)
    assert any("learning rate 0.01, 1 changed setting" in title for title in titles)
    assert not any("optim" in title or "num_outs" in title for title in titles)
    assert "model.neck.num_outs = 4" in text, "it is in the folded notes"


def test_a_filter_by_task_needs_two_tasks_and_no_script(page, results, tmp_path):
    assert page.count('type="radio"') == 3
    parts = re.findall(r'data-task="(\w*)"', page)
    assert parts.count("detection") > 2
    assert parts.count("segmentation") > 2
    one = tmp_path / "one"
    synthetic.write_suite(one, synthetic.PAPER_ROWS[:2], seeds=range(2))
    assert main.main(["report", "--results", str(one)]) == 0
    assert 'type="radio"' not in (one / "report.html").read_text(encoding="utf-8")


def test_without_records_the_page_says_so(tmp_path, capsys):
    assert main.main(["report", "--results", str(tmp_path)]) == 0
    for command in (["report"], ["table", "all", "--write"]):
        assert main.main([*command, "--results", str(tmp_path / "nowhere")]) == 2
        assert "There is no results folder" in capsys.readouterr().err
    assert not (tmp_path / "nowhere").exists()
    text = (tmp_path / "report.html").read_text()
    assert "There are no fine-tunings yet" in text
    assert "81.33" in text


def test_pictures_are_written_on_request(results, tmp_path):
    command = ["report", "--results", str(results), "--out", str(tmp_path / "r.html")]
    assert main.main([*command, "--pictures", str(tmp_path / "p")]) == 0
    names = sorted(path.name for path in (tmp_path / "p").iterdir())
    assert "answer-voc0712-paper-resnet50_baseline.png" in names
    assert len([n for n in names if n.endswith(".svg")]) == len(names) // 2


def test_the_folders_pictures_are_those_of_its_own_page(results, tmp_path):
    def drawn():
        return {path.name: path.read_bytes() for path in (results / "pictures").glob("*")}

    before = drawn()
    command = ["report", "--results", str(results)]
    for options in (["--out", str(tmp_path / "r.html")], ["--against", "resnet50d_efficient"]):
        assert main.main([*command, *options]) == 0
        assert drawn() == before
    assert main.main(command) == 0
    assert "answer-voc0712-paper-resnet50_baseline.svg" in drawn()


def test_a_folder_that_cannot_be_written_is_named(results, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    out = tmp_path / "file" / "r.html"
    assert main.main(["report", "--results", str(results), "--out", str(out)]) == 2
    assert "choose another folder with --out" in capsys.readouterr().err
    pictures = ["--out", str(tmp_path / "r.html"), "--pictures", str(tmp_path / "file")]
    assert main.main(["report", "--results", str(results), *pictures]) == 2
    assert "choose another folder with --pictures" in capsys.readouterr().err


def chromium(page, profile, *flags):
    return subprocess.run(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--enable-logging=stderr", f"--user-data-dir={profile}", *flags, f"file://{page}"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("chromium"), reason="needs the browser Chromium")
def test_in_a_browser_tables_sort_and_the_console_is_silent(page, results, tmp_path):
    """The script is the page's own; a second one, added here, presses a heading and reports."""
    press = """<script>
      const table = document.querySelector("#detection-voc0712-paper-table1 table");
      const column = [...table.tHead.rows[0].cells].findIndex(
        (cell) => cell.textContent.trim() === "gain");
      const values = () => [...table.tBodies[0].rows].map(
        (row) => row.cells[column].textContent).join(" ");
      const shown = (task) => [...document.querySelectorAll(`main [data-task=${task}]`)].filter(
        (part) => getComputedStyle(part).display !== "none").length > 0;
      const only = (task) => {
        document.querySelector(`#only-${task}`).click();
        return [shown("detection"), shown("segmentation")];
      };
      const button = table.tHead.rows[0].cells[column].querySelector("button");
      button.click(); const up = values();
      button.click(); const down = values();
      document.title = [up, down, table.tHead.rows[0].cells[column].getAttribute("aria-sort"),
        document.documentElement.scrollWidth <= innerWidth,
        ...only("segmentation"), ...only("all")].join("|");
    </script></body>"""
    tried = tmp_path / "tried.html"
    tried.write_text(page.replace("</body>", press), encoding="utf-8")
    done = chromium(tried, tmp_path / "a", "--dump-dom", "--window-size=390,900")
    found = re.search(r"<title>(.*?)</title>", done.stdout)[1].split("|")
    up, down, order, fits, *filtered = found
    assert filtered == ["false", "true", "true", "true"], "one task alone, then both"
    rising = [float(v) for v in up.split() if v != "baseline"]
    assert rising == sorted(rising)
    assert len(rising) >= 1
    assert [float(v) for v in down.split() if v != "baseline"] == rising[::-1]
    assert up.endswith("baseline")
    assert down.endswith("baseline"), "what is no figure stays last"
    assert order == "descending"
    assert fits == "true", "a narrow window does not scroll sideways; tables do, each by itself"
    assert "CONSOLE" not in done.stderr
