"""The page in headless Chromium: what a reader meets in light, in dark and on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from lmht_deploy import report
from tests.support.chromium import Page, open_page
from tests.support.comparison_json import comparison

PHONE = 360
SHAPES = """
const box = node => node.getBoundingClientRect();
return {
  wide: document.documentElement.scrollWidth - innerWidth,
  figures: [...document.querySelectorAll('figure')].map(node => node.id),
  empty: [...document.querySelectorAll('figure svg')]
    .filter(svg => box(svg).width < 100 || box(svg).height < 40 || !svg.querySelector('text'))
    .map(svg => svg.parentNode.parentNode.id),
  outside: [...document.querySelectorAll('figure svg text')].filter(text => {
    const own = box(text), frame = box(text.ownerSVGElement);
    return own.left < frame.left - 2 || own.right > frame.right + 2 ||
      own.top < frame.top - 2 || own.bottom > frame.bottom + 2;
  }).map(text => text.textContent),
  requests: performance.getEntriesByType('resource').map(entry => entry.name),
  reachable: document.querySelectorAll('a[href], summary, [tabindex="0"]').length,
  background: getComputedStyle(document.body).backgroundColor,
};
"""
CONTRAST = """
const channel = value => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
const parse = color => color.match(/[\\d.]+/g).map(Number);
const luminance = ([r, g, b]) =>
  0.2126 * channel(r / 255) + 0.7152 * channel(g / 255) + 0.0722 * channel(b / 255);
const background = node => {
  for (; node; node = node.parentElement) {
    const found = parse(getComputedStyle(node).backgroundColor);
    if (found.length < 4 || found[3] > 0) return found;
  }
};
const failures = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
let texts = 0;
while (walker.nextNode()) {
  const node = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim()) continue;
  if (node.closest('title, desc, style, script')) continue;
  const style = getComputedStyle(node);
  const own = node.closest('svg') ? style.fill : style.color;
  const [a, b] = [luminance(parse(own)), luminance(background(node))].sort((x, y) => x - y);
  texts += 1;
  if ((b + 0.05) / (a + 0.05) < 4.5) failures.push([node.textContent, own]);
}
return {texts, failures};
"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("page")
    path = folder / "report.html"
    classes = [f"class {index}" for index in range(10)]
    made = report.compare_report(comparison("one", "two", classes=classes))
    report.write_html(made, path)
    with open_page(folder, path.as_uri()) as found:
        found.wait("document.readyState === 'complete'")
        yield found


def probe(page: Page, script: str) -> dict[str, Any]:
    """Value of the body of a function."""
    return dict(page.run(f"(() => {{ {script} }})()"))


def test_the_console_stays_empty(page: Page) -> None:
    assert page.messages == [] and page.errors == []
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []


@pytest.mark.parametrize(("width", "dark"), [(1000, False), (1000, True), (PHONE, False)])
def test_everything_is_drawn_and_fits(page: Page, width: int, dark: bool) -> None:
    page.look(width, 900, dark)
    found = probe(page, SHAPES)
    made = report.compare_report(comparison("one", "two"))
    assert found["figures"] == [figure.name for figure in made.figures]
    assert found["empty"] == [] and found["outside"] == [] and found["requests"] == []
    assert found["wide"] <= 0
    assert found["reachable"] > 2 * len(found["figures"])
    assert found["background"] == ("rgb(20, 24, 28)" if dark else "rgb(255, 255, 255)")


@pytest.mark.parametrize("dark", [False, True])
def test_texts_stand_out_from_the_paper(page: Page, dark: bool) -> None:
    """WCAG 2.1 level AA: a ratio of at least 4.5."""
    page.look(1000, 900, dark)
    found = probe(page, CONTRAST)
    assert found["texts"] > 200
    assert found["failures"] == []
