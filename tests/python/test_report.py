"""The HTML report: what it says, on runs with and without everything, and that it is one safe page."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import fake_run
import fake_statistics
import pytest
import support
from fake_statistics import Options

import contexture
from contexture import findings, plot_statistics, report

EVIL = "<script>alert(1)</script>"
BARE = Options(layers=(3,), annotated=False, bootstrap=False, nan=True)


class Page(HTMLParser):
    """Elements, the text that a reader sees, and faults of nesting."""

    VOID = {"meta", "img", "link", "br", "hr", "input"}

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.faults: list[str] = []
        self.feed(html)
        self.faults += [f"<{tag}> is not closed" for tag in self._open]

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.faults.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def render(folder: Path) -> str:
    with contexture.open_run(folder) as run:
        return report.render(run)


def assert_sound(html: str) -> Page:
    """Nested, self-contained, with an alternative text for every picture and a heading for every section."""
    page = Page(html)
    assert not page.faults, page.faults
    assert {name for name, _ in page.tags}.isdisjoint({"script", "link", "iframe", "object", "base", "form"})
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        for name in ("src", "href"):
            value = attributes.get(name) or "#"
            assert value.startswith(("data:image/svg+xml;base64,", "#")), f"<{tag}> takes {name} from {value[:80]}"
    assert "@import" not in html and "url(" not in html
    assert any("default-src 'none'" in (attributes.get("content") or "") for attributes in page.all("meta"))
    assert len(page.all("h1")) == 1 and page.all("html")[0]["lang"] == "en" and page.all("main")
    assert all(len(attributes["alt"] or "") > 20 for attributes in page.all("img"))
    targets = [attributes["href"] for attributes in page.all("a")]
    assert {f"#{attributes['id']}" for attributes in page.all("section")} == set(targets)
    return page


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything, whose id, text, tokens and labels are hostile."""
    patch = pytest.MonkeyPatch()
    document = fake_run.words(f"a{EVIL}", f"{EVIL} the cat & on bank", [9, 3, 4, 8, 6, 7])
    patch.setattr(fake_run, "DOCUMENTS", [document, *fake_run.DOCUMENTS[1:]])
    patch.setattr(fake_statistics, "LABELS", ("", EVIL, "PER"))
    folder = fake_statistics.write_run(tmp_path_factory.mktemp("report") / "out")
    patch.undo()
    (folder / "tokens.json").write_text(json.dumps([*fake_run.TOKENS[:8], '"><img src=x onerror=alert(1)>', EVIL]))
    return folder


def command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(support.ROOT / "python"), "PATH": "", "HOME": str(Path.home())}
    return subprocess.run([sys.executable, "-W", "error", "-m", "contexture.report", *map(str, arguments)], env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def page(whole: Path) -> str:
    path = whole.parent / "page.html"
    result = command(whole, "-o", path)
    assert result.returncode == 0, result.stderr
    return path.read_text(encoding="utf-8")


def test_whole_report(page: str) -> None:
    content = assert_sound(page)
    text = " ".join(content.text.split())
    assert text.count("confirmed") >= 3 and "not confirmed" not in text
    assert "RES1, LN1, FF, RES2 and LN2 reorder the map in all 2 layers: the interval of the change lies above 0." in text
    # FF: 0.3 and a hundredth of the layer, 1 and 3; the interval is ± 1.96 · 0.025.
    assert "FF 0.320 [0.271, 0.369]" in text
    # Three replicates have 0.05, 0.05 and 0.2; a share of 0.02 more is 2 percentage points.
    assert "FF, two pieces of one word against the others: 2 [5, 19] percentage points" in text
    # A difference of 2 at distance 1 and of none at 2, as many pairs at each; replicates have 0, 0 and 18.3.
    assert "At the same distance, FF gives two pieces of one word not clearly more or less than other pairs of words: 1 [0, 17] percentage points" in text
    assert "RES2 and LN2 together undo 20.0 % of FF's change: share −0.20 [−0.30, −0.10], mean over layers; undone in layers 1, 3." in text
    assert len(content.all("img")) == 8 and len(content.all("svg")) == 3 * 3
    assert "FF, by part of speech of target ← source" in text and " ".join(f"{EVIL} ← {EVIL} (7)".split()) in text and "--vocabulary" not in text
    assert "completeness" in text and "1.0e-07" in text


def test_hostile_texts_are_only_text(page: str) -> None:
    content = assert_sound(page)
    assert not content.all("script") and not [a for a in content.all("img") if a["src"] == "x"]
    assert content.text.count(EVIL) >= 4, "the id, the text, the token and its pairs are shown as they are"
    assert '"><img src=x onerror=alert(1)>' in content.text


def test_bare_report(tmp_path: Path) -> None:
    """One layer, no annotations, no maps, no deviations, means of nothing."""
    text = " ".join(assert_sound(render(fake_statistics.write_run(tmp_path / "out", BARE, maps=False))).text.split())
    assert text.count("cannot be tested") >= 3
    assert "An interval needs two sequences at least" in text
    assert "For two words of one entity it cannot be tested: no annotations" in text
    assert "stores no maps, so there are no examples" in text and "--stages" in text
    assert "nan" not in text.lower().replace("dominance", "")


def test_documents_that_lost_their_annotations_are_listed(tmp_path: Path) -> None:
    """So does a report of a run without token texts say where they come from."""
    folder = fake_statistics.write_run(tmp_path / "out")
    (folder / "tokens.json").unlink()
    with contexture.open_run(folder) as run:
        assert run.manifest is not None
        stripped = tuple({"document": number, "line": number + 1, "source": "a.jsonl", "reason": f"a.jsonl:{number + 1}: <b>"} for number in range(52))
        run.manifest.parts[0] = replace(run.manifest.parts[0], stripped=stripped)
        text = " ".join(assert_sound(report.render(run)).text.split())
    assert "52 documents kept without them" in text and "document 49, line 50: a.jsonl:50: <b> and 2 more" in text and "Documents left out" not in text
    assert "whose texts the run does not hold; --vocabulary takes them from the model" in text


def test_report_of_empty_tables(tmp_path: Path) -> None:
    text = assert_sound(render(fake_statistics.write_run(tmp_path / "out", Options(empty=True)))).text
    assert text.count("cannot be tested") >= 3 and "No pair of token types stands in the corpus 2 times" in text and text.count("nothing to draw") >= 4


def test_report_without_statistics_and_of_an_unfinished_run(tmp_path: Path) -> None:
    content = assert_sound(render(fake_statistics.write_run(tmp_path / "out", Options(analyses=()))))
    assert content.text.count("run contexture with --analyses all") >= 5 and content.all("svg") and not content.all("img")
    text = assert_sound(render(fake_run.write_run(tmp_path / "begun", finished_parts=0))).text
    assert "not finished" in text and "cannot be tested" in text


def test_statements_come_out_either_way(tmp_path: Path) -> None:
    """The same sentences say what is not so, in part so, and which way."""
    import h5py

    folder = fake_statistics.write_run(tmp_path / "out", Options(bootstrap=False, sign=-1))
    with h5py.File(folder / "run.h5", "r+") as file:
        change = file["/stats/contextualization_change/sequence"]
        change["mean"][:] = [0.01 if layer == 1 else mean for layer, mean in zip(change["layer"][:], change["mean"][:])]
        file["/stats/cancellation/sequence/share_mean"][:] = 0.25
        table = file["/stats/categories/category"]
        same = table["category"][:] == fake_statistics.CATEGORIES.index("same_word")
        table["mean"][:] = [0.5 if equal else mean for equal, mean in zip(same, table["mean"][:])]
        for name in ("low", "high"):
            table[name][:] = [(-9.0 if name == "low" else 9.0) if equal else end for equal, end in zip(same, table[name][:])]
    with contexture.open_run(folder) as run:
        first, second, third = findings.findings(run)
    assert first.verdict == findings.PARTLY and first.sentences[0].startswith("RES1 does so in 1 of 2 layers; LN1 does so in 1 of 2 layers")
    assert second.verdict == findings.PARTLY
    assert "in no layer is it clear of 0" in second.sentences[0]
    assert any(sentence.startswith("FF, two words of one entity") and sentence.endswith("less in layers 1, 3.") for sentence in second.sentences)
    assert third.verdict == findings.NOT_CONFIRMED
    assert (
        third.sentences[0].startswith("RES2 and LN2 together add 25.0 % of FF's change: share 0.25 [0.15, 0.35]")
        and "added to in layers 1, 3" in third.sentences[0]
    )


def test_layer_norms_are_told_of_where_dimensions_were_masked(tmp_path: Path) -> None:
    """LN1 changes less without them in every layer, LN2 more: partly so. A run of one sequence, and one of none, cannot tell."""
    folder = fake_statistics.write_run(tmp_path / "out", Options(analyses=fake_statistics.WITH_NORMS))
    with contexture.open_run(folder) as run:
        *others, found = findings.findings(run)
    assert len(others) == 3 and found.verdict == findings.PARTLY
    assert found.sentences[0] == "Left out: the 2 dimensions with the largest |γ|, of each layer norm."
    assert found.sentences[1] == (
        "LN1 changes the map by 0.100 [0.090, 0.110] instead of 0.200 [0.190, 0.210], 50.0 % less (1 − ρ, mean over layers); "
        "difference −0.100 [−0.110, −0.090]: less in layers 1, 3."
    )
    assert found.sentences[2] == "They hold 50.0 % of the squared norms before LN1 and 25.0 % after it."
    assert "50.0 % more" in found.sentences[3] and found.sentences[3].endswith("more in layers 1, 3.")
    content = assert_sound(render(folder))
    text = " ".join(content.text.split())
    assert "Layer norms and outlier dimensions" in text and "and one about layer norms" in text and "30, 31" in text
    assert len(content.all("img")) == 9
    for name, options in (("bare", BARE), ("empty", Options(empty=True))):
        folder = fake_statistics.write_run(tmp_path / name, replace(options, analyses=fake_statistics.WITH_NORMS))
        content = assert_sound(render(folder))
        assert content.text.count("cannot be tested") >= 4 and "nan" not in content.text.lower().replace("dominance", "")


def test_numbers_are_written_for_people() -> None:
    assert [findings.number(value) for value in (0.0, 12.345, -0.000123456, float("nan"), 1234.5)] == ["0", "12.3", "−0.000123", "unknown", "1234"]
    assert findings.interval(-0.123456, -0.2, -0.05) == "−0.12 [−0.20, −0.05]" and findings.interval(-0.001, -0.5, 0.5) == "0.0 [−0.5, 0.5]"
    assert findings._layers([0, 1, 2, 4, 5, 7]) == "layers 0–2, 4, 5, 7" and findings._layers([3]) == "layer 3"


def test_equal_numbers_give_equal_pictures(whole: Path) -> None:
    with contexture.open_run(whole) as run:
        first, second = (report.picture(plot_statistics.contextualization_change(run), "alt", "caption") for _ in range(2))
    assert first == second


def test_command_says_what_is_wrong(tmp_path: Path) -> None:
    result = command(tmp_path / "nothing")
    assert result.returncode == 1 and "does not exist" in result.stderr and len(result.stderr.splitlines()) == 1
