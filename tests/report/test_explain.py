"""The report of `lmht explain`: its figures are those of the JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmht_deploy import report
from lmht_deploy.analysis.explain import explain, to_content
from lmht_deploy.analysis.provenance import provenance
from lmht_deploy.errors import DataError
from tests.support.chromium import open_page
from tests.support.networks import SPECIAL, windows_for

from .test_browser import CONTRAST, SHAPES, probe

STRANGE = '<script>alert("x")</script> $\\frac{1}{0}$ \x1b[2J'


def content(name: str = "lm-ht", windows: int = 1, **fields: Any) -> dict[str, Any]:
    """The JSON of an explanation, as a file holds it."""
    net = SPECIAL[name]()
    found = [
        to_content(explain(net, window, cell=2)) | {"window": index, "label": 1, "start_us": 0}
        for index, window in enumerate(windows_for(net, windows + 2)[2:])
    ]
    whole = {
        "schema": "lmht-explain",
        "version": 1,
        "network": f"{name}.lmht",
        "data": {"data": "recording.aedat4"},
        "classes": ["a", "b", "c", "d", "e"],
        "windows": [window | {"source": "recording.aedat4"} | fields for window in found],
        "provenance": provenance(1),
    }
    return json.loads(json.dumps(whole))


def test_figures_show_the_content() -> None:
    found = content()
    made = report.explain_report(found)
    (window,) = found["windows"]
    assert [figure.name for figure in made.figures] == [
        "attribution-0", "step-0", "polarity-0", "cells-by-step-0", "deletion-0", "insertion-0",
    ]  # fmt: skip
    changes = np.array(window["parts"]["cell"]["margin_deltas"]) * window["scale"]
    rows = [row[1:] for row in made.figures[0].data.rows]
    assert np.array_equal(rows, changes)
    by_step = np.array([row[2:] for row in made.figures[3].data.rows]) / window["scale"]
    expected = np.array(window["parts"]["cell_step"]["margin_deltas"])
    assert by_step.round().reshape(expected.shape).tolist() == expected.tolist()
    deletion = np.array(made.figures[4].data.rows, float)
    assert deletion[0, 1] == pytest.approx(window["margin"] * window["scale"])
    empty = np.array(window["empty_logits"])
    last = empty[window["answer"]] - np.delete(empty, window["answer"]).max()
    assert deletion[-1, 1:] == pytest.approx([last * window["scale"]] * 2)
    tables = {table.name: table for table in made.tables}
    best = tables["cell-0"].rows[0]
    assert best[4] == pytest.approx(changes.min())
    assert {row[0] for row in tables["areas-0"].rows} == {
        "counterfactual",
        "random, mean and range",
    }
    text = report.to_html(made)
    assert f"The answer is {'abcde'[window['answer']]}." in text
    assert "A counterfactual says what the network answers without these events." in text


@pytest.mark.parametrize("name", ["image", "single-threshold", "steps-differ"])
def test_other_networks(name: str) -> None:
    text = report.to_html(report.explain_report(content(name)))
    assert ("set to 0" in text or "setting it to 0" in text) == (name == "image")


def test_a_window_without_events_and_without_curves() -> None:
    net = SPECIAL["lm-ht"]()
    found = content()
    empty = explain(net, np.zeros(net.window_shape, int), methods=())
    found["windows"][0] |= to_content(empty)
    made = report.explain_report(json.loads(json.dumps(found)))
    assert not made.figures and "nothing can be left out" in report.to_html(made)
    bare = content()
    bare["windows"][0] |= {"curves": [], "flip": None, "label": None, "source": None}
    assert len(report.explain_report(bare).figures) == 4


def test_many_windows() -> None:
    found = content(windows=3)
    found["windows"] = [found["windows"][index % 3] | {"window": index} for index in range(21)]
    made = report.explain_report(found)
    assert len(made.figures) == 10 * 6
    assert any("first 10 windows" in note.text for note in made.notes)
    assert any("set" in fact.name or "Cells" in fact.name for fact in made.facts)


def test_texts_of_strangers() -> None:
    found = content(source=STRANGE) | {"classes": [STRANGE] * 5, "network": STRANGE}
    text = report.to_html(report.explain_report(found))
    assert "<script" not in text and "\x1b" not in text


@pytest.mark.parametrize("wrong", [{}, [], None, {"windows": []}, {"windows": [{}]}])
def test_other_content_is_refused(wrong: Any) -> None:
    with pytest.raises(DataError, match="is not the JSON of `lmht explain --json`"):
        report.explain_report(wrong)


def test_a_newer_schema_is_refused() -> None:
    with pytest.raises(DataError, match=r"schema 'lmht-explain' version 1, not .* version 2"):
        report.explain_report(content() | {"version": 2})


def test_files(tmp_path: Path) -> None:
    report.write_figures(report.explain_report(content()), tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert {"attribution-0.svg", "attribution-0.csv", "cell-0.tex", "report.json"} <= names


@pytest.mark.parametrize("dark", [False, True])
def test_the_page_in_a_browser(tmp_path: Path, dark: bool) -> None:
    page = tmp_path / "page.html"
    report.write_html(report.explain_report(content(windows=2)), page)
    with open_page(tmp_path, page.as_uri()) as opened:
        opened.wait("document.readyState === 'complete'")
        opened.look(1000, 900, dark)
        assert opened.messages == [] and opened.errors == []
        shapes, contrast = probe(opened, SHAPES), probe(opened, CONTRAST)
    assert shapes["empty"] == shapes["outside"] == shapes["requests"] == []
    assert shapes["wide"] <= 0 and len(shapes["figures"]) == 12
    assert contrast["texts"] > 50 and contrast["failures"] == []
