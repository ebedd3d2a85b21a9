"""A report shows the figures of its JSON, says what is absent, and loads nothing."""

from __future__ import annotations

import csv
import io
import json
import re
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lmht_deploy import report
from lmht_deploy.errors import DataError
from tests.support.comparison_json import DIFFERENCE, comparison, counts_of, sample

STRANGE = '<script>alert("x")</script> & $\\frac{1}{0}$ \x1b[2J 日本語 ' + "long" * 40


class Page(HTMLParser):
    """What a page consists of."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of every element `tag`."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def ids(self) -> list[str]:
        """Every id, in order."""
        return [str(attributes["id"]) for _, attributes in self.tags if "id" in attributes]


def write(content: dict[str, Any]) -> str:
    """The page of a comparison, from JSON as a file holds it."""
    return report.to_html(report.compare_report(json.loads(json.dumps(content))))


@pytest.fixture(scope="module")
def text() -> str:
    return write(comparison("one", "two"))


def test_nothing_is_loaded_and_nothing_is_run(text: str) -> None:
    page = Page(text)
    links = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("href", "src", "srcset", "xlink:href", "action", "data", "poster")
    ]
    assert links
    assert all(str(link).startswith(("#", "data:image/png;base64,")) for link in links)
    assert not re.search(r"url\((?!#)|@import", text)
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    policy = page.all("meta")[3]
    assert policy["http-equiv"] == "Content-Security-Policy"
    assert str(policy["content"]).startswith("default-src 'none'")


def test_structure_for_screen_readers(text: str) -> None:
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    for _, attributes in page.tags:
        for name in str(attributes.get("aria-labelledby", "")).split():
            assert name in page.ids or name == "None"
    targets = [str(a["href"])[1:] for a in page.all("a")]
    assert set(targets) <= set(page.ids)
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    drawings = [a for a in page.all("svg") if a.get("role") == "img"]
    assert len(drawings) == len(page.all("figure")) == len(page.all("figcaption"))
    assert len(page.all("title")) == 1 + len(drawings) and len(page.all("desc")) == len(drawings)
    assert all(a.get("scope") in ("col", "row") for a in page.all("th"))


def test_every_figure_holds_its_data() -> None:
    content = comparison("one", "two")
    made = report.compare_report(content)
    names = [figure.name for figure in made.figures]
    assert len(names) == len(set(names))
    assert {"pareto-energy", "pareto-latency", "anytime-steps", "anytime-energy"} <= set(names)
    for kind in ("density", "sops", "energy-layers", "energy-models", "confusion", "latency"):
        assert {f"{kind}-one", f"{kind}-two"} <= set(names)
    found = {figure.name: figure.data.rows for figure in made.figures}
    assert found["density-two"] == (("a", 1.0, 1.5),)
    assert found["sops-one"] == (("a", 110.0), ("out", 100.0))
    assert found["confusion-one"] == (("mug", 19, 1), ("pen", 1, 19))
    energies = [row[1:4] for row in found["pareto-energy"]]
    assert [row[1] for row in energies] == pytest.approx([0.95, 0.9])
    assert [row[-1] for row in found["pareto-energy"]] == [True, False]
    assert found["anytime-energy"][1][:3] == ("one", 2, 0.95)
    assert found["raster-one-3"] == (("a", 1, 3),)
    assert found["answer-one-3"] == (("mug", 0.0, 0.5), ("pen", 0.1, 0.0))


def test_the_summary_answers_the_first_questions() -> None:
    made = report.compare_report(comparison())
    facts = {fact.name: fact for fact in made.facts}
    assert facts["Backends"].value == "All integers are equal" and facts["Backends"].good
    assert facts["Synaptic operations per window"].value == "110"
    assert facts["Accuracy"].value == "95.00%"
    assert facts["Energy per window"].value == "189 pJ"
    assert facts["Most expensive layer"].value == "a"
    assert facts["Most expensive layer"].note == "70.00% of the energy."
    assert made.notes[0].items == ("The memory.", "The updates of the neurons.")


def test_a_difference_is_shown() -> None:
    content = comparison(equal=False)
    content["networks"][0]["backends"][1]["difference"] = DIFFERENCE
    made = report.compare_report(content)
    assert made.facts[0].good is False and "window 3 has 2, expected 1" in made.facts[0].note
    table = next(table for table in made.tables if table.name == "backends-net")
    assert [row[-1] for row in table.cells()] == ["equal", "differ"]
    assert "window 3 has 2, expected 1" in report.to_html(made)


def test_what_is_absent_is_said() -> None:
    content = comparison()
    content["data"]["labels"] = None
    content["networks"][0] |= dict.fromkeys(
        ("accuracy", "interval", "correct", "anytime", "classes", "samples")
    )
    content["networks"][0]["measured_energy"] = []
    content["networks"][0]["anytime"] = None
    content["networks"][0]["energy"] = {"models": [], "lowest": None, "highest": None}
    content["networks"][0] |= {"others": [], "neurobench": None}
    for layer in content["networks"][0]["counts"]["graded"]["layers"]:
        for key in ("per_step", "updates", "bytes"):
            layer[key] = None
    for backend in content["networks"][0]["backends"]:
        backend.update(dict.fromkeys(("accuracy", "interval", "speed")))
    text = write(content)
    for what in (
        "Spike density by step",
        "Energy",
        "Accuracy over time",
        "Classes",
        "Samples",
        "Measured energy",
    ):
        assert f"{what}: not available." in text
    assert "Latency, throughput and memory: not available." in text


def test_texts_of_strangers() -> None:
    content = comparison(STRANGE, classes=[STRANGE, "<b>pen"])
    network = content["networks"][0]
    network["metadata"] = {STRANGE: STRANGE}
    network["omitted"] = {STRANGE: STRANGE}
    layer = counts_of(STRANGE, 4.0)
    network["counts"]["graded"]["layers"].append(layer)
    network["samples"][0]["layers"][STRANGE] = network["samples"][0]["layers"]["a"]
    content["data"]["sources"] = [STRANGE, STRANGE]
    content["energy_models"][0]["leaves_out"] = [STRANGE]
    text = write(content)
    page = Page(text)
    assert not page.all("script") and not page.all("b")
    assert "\x1b" not in text and "&lt;script&gt;" in text
    made = report.compare_report(content)
    assert "\x1b" not in report.to_latex(made.tables[0])


def test_names_that_look_alike_have_files_of_their_own() -> None:
    made = report.compare_report(comparison("L=1", "L-1", "日本", "中国"))
    names = [item.name for item in (*made.figures, *made.tables)]
    assert len(names) == len(set(names))


def test_figures_tables_and_data_as_files(tmp_path: Path) -> None:
    content = comparison()
    made = report.compare_report(content)
    report.write_figures(made, tmp_path / "new" / "figures")
    folder = tmp_path / "new" / "figures"
    assert json.loads((folder / "report.json").read_text()) == content
    for figure in made.figures:
        assert (folder / f"{figure.name}.png").read_bytes()[:4] == b"\x89PNG"
        assert (folder / f"{figure.name}.pdf").read_bytes()[:4] == b"%PDF"
        assert b"<svg" in (folder / f"{figure.name}.svg").read_bytes()
        lines = list(csv.reader(io.StringIO((folder / f"{figure.name}.csv").read_text())))
        assert lines[0] == [column.name for column in figure.data.columns]
        assert len(lines) == 1 + len(figure.data.rows)
    latex = (folder / "backends-net.tex").read_text()
    assert r"\begin{tabular}{lrrrrrrr}" in latex and r"95.00\% & 10 & 110" in latex
    assert latex.count(r"\\") == 3 and r"\toprule" in latex and r"\label{tab:backends-net}" in latex


def test_a_report_is_a_pure_function(text: str) -> None:
    assert write(comparison("one", "two")) == text


def test_a_large_report_stays_small() -> None:
    """Two networks of 40 layers, 100 classes, and samples of 128 x 128 pixels."""
    content = comparison("one", "two", classes=[f"class {index}" for index in range(100)])
    for network in content["networks"]:
        layers = [counts_of(f"layer{index}", 5.0) for index in range(40)]
        network["counts"]["graded"]["layers"] = layers
        network["samples"] = [_large_sample(window) for window in range(4)]
    assert len(write(content)) < 2_000_000


def _large_sample(window: int) -> dict[str, Any]:
    import numpy as np

    def spikes(shape: tuple[int, ...], share: float) -> dict[str, Any]:
        k = np.random.default_rng(window).random((8, *shape)) < share
        step, neuron = np.nonzero(k.reshape(8, -1))
        return {
            "shape": list(shape),
            "steps": 8,
            "step": step.tolist(),
            "neuron": neuron.tolist(),
            "value": [1] * len(step),
        }

    return sample(window, 1, 0, 100) | {
        "input": spikes((2, 128, 128), 0.1),
        "layers": {f"layer{index}": spikes((32, 16, 16), 0.15) for index in range(8)},
    }


@pytest.mark.parametrize("content", [{}, [], None, {"schema": "x", "version": 1}])
def test_other_content_is_refused(content: Any) -> None:
    makers = (
        report.compare_report,
        report.run_report,
        report.training_report,
        report.validation_report,
    )
    for make in makers:
        with pytest.raises(DataError, match="JSON of `lmht"):
            make(content)


def test_a_newer_schema_is_refused() -> None:
    with pytest.raises(DataError, match=r"schema 'lmht-compare' version 1, not .* version 2"):
        report.compare_report(comparison(version=2))


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == package else object()
    )
    with pytest.raises(DataError, match=rf"'{package}' is not installed.*lmht-deploy\[report\]"):
        report.to_html(report.compare_report(comparison()))
