"""The report's page in Chromium: what a reader sees, moves and prints."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Browser, Page

from dfl.report.headline import interval, money
from dfl.report.report import comparison_report, run_report, suite_report
from dfl.report.segments import segment_files
from tests.pipeline.tiny import tiny_study
from tests.report.sample import SEGMENTS, comparison, full_metrics, history
from tests.report.test_suite_tables import CONFIG, rows

pytestmark = pytest.mark.browser

PHONE, TABLET, DESK, PAPER = 390, 820, 1440, 680
ODD = ("<b>$x_1^2</b>", "</script><script>alert(1)</script>", "'\"`&amp;", "日本 $5", "x" * 300)


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    from dfl.pipeline import Silent, run

    path = tmp_path_factory.mktemp("seen") / "run"
    run(tiny_study(), path, Silent())
    return path


@contextmanager
def opened(browser: Browser, path: Path, width: int = DESK, **options: Any) -> Iterator[Page]:
    """Open a page; whatever it says to the console or asks of a network is an error."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(path.as_uri())
    yield page
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [path.as_uri()]
    context.close()


@pytest.fixture(scope="session")
def sample_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run with everything that one measures."""
    report = run_report(full_metrics(), history(), "method: x")
    return saved(tmp_path_factory.mktemp("sample"), report.files())


def saved(folder: Path, files: dict[str, bytes]) -> Path:
    (path,) = (folder / name for name in files if name.endswith(".html"))
    path.write_bytes(files[path.name])
    return path


def text_of(page: Page, place: str) -> str:
    return page.locator(place).inner_text()


def test_at_every_measured_budget_the_page_says_what_metrics_json_says(
    browser: Browser, run_folder: Path
) -> None:
    found = json.loads((run_folder / "metrics.json").read_text())
    curve, mixes, names = found["curve"], found["mix"], [*found["arms"]]
    budgets = [mix["budget"] for mix in mixes]
    low, high = curve[0]["budget"], curve[-1]["budget"]
    with opened(browser, run_folder / "report.html") as page:
        for point in curve:
            step = 1000 * (point["budget"] - low) / (high - low)
            assert step == pytest.approx(round(step), abs=1e-6)
            page.get_by_label("Budget per person").fill(str(round(step)))
            said = text_of(page, "#outlook")
            assert f"At {money(point['budget'])} per person" in said
            assert f"earns {interval(point, 1000)}." in said
            assert interval(point["against_mix"], 1000) in said
            shown = page.locator("#shares .share").all_inner_texts()
            shares = [
                100 * np.interp(point["budget"], budgets, [mix["shares"][arm] for mix in mixes])
                for arm in range(len(names))
            ]
            assert [float(one[:-1]) for one in shown] == pytest.approx(shares, abs=0.051)
        assert page.locator("#shares .name").all_inner_texts() == names


def test_tables_say_what_metrics_json_says(browser: Browser, run_folder: Path) -> None:
    found = json.loads((run_folder / "metrics.json").read_text())
    with opened(browser, run_folder / "report.html") as page:
        table = page.locator("table", has_text="estimated value").first
        for place, budget in enumerate(found["budgets"]):
            line = table.locator("tbody tr").nth(place).locator("td")
            assert line.nth(0).inner_text() == budget["given"]
            assert float(line.nth(1).inner_text()) == float(f"{budget['per_head']:.4g}")
            value, ends = line.nth(2).inner_text().split("\n")
            eom = budget["eom"]
            assert [value, ends] == [
                f"{eom['value']:.4g}",
                f"[{eom['low']:.4g}, {eom['high']:.4g}]",
            ]
        rows = page.locator("table", has_text="validation")
        assert f"{found['rows']['test']:,}" in rows.first.inner_text()


def test_the_slider_moves_by_the_keyboard_and_people_by_their_field(
    browser: Browser, sample_page: Path
) -> None:
    with opened(browser, sample_page) as page:
        page.keyboard.press("Tab")
        slider = page.get_by_label("Budget per person")
        assert slider.evaluate("one => one === document.activeElement")
        page.keyboard.press("End")
        assert slider.get_attribute("aria-valuetext") == "1 per person"
        assert "Spending 1,000 earns 6,000 [5,000, 7,000]." in text_of(page, "#outlook")
        page.keyboard.press("ArrowLeft")
        assert slider.get_attribute("aria-valuetext") == "0.999 per person"
        page.keyboard.press("Home")
        assert "Spending 0 earns 2,000 [1,000, 3,000]." in text_of(page, "#outlook")
        page.get_by_label("People to be served").fill("10")
        assert "Spending 0 earns 20 [10, 30]." in text_of(page, "#outlook")
        page.keyboard.press("Enter")  # submits nothing
        assert page.url.startswith("file:")
        assert slider.input_value() == "0"


def test_the_slider_follows_the_mouse(browser: Browser, sample_page: Path) -> None:
    with opened(browser, sample_page) as page:
        box = page.get_by_label("Budget per person").bounding_box()
        assert box is not None
        before = text_of(page, "#outlook")
        page.mouse.click(box["x"] + box["width"] * 0.75, box["y"] + box["height"] / 2)
        after = text_of(page, "#outlook")
        assert after != before
        assert 0.7 < float(after.split()[1]) < 0.8


def test_groups_are_those_of_the_chosen_column(browser: Browser, run_folder: Path) -> None:
    groups = json.loads((run_folder / "metrics.json").read_text())["who"]["groups"]
    with opened(browser, run_folder / "report.html") as page:
        for name, parts in groups.items():
            page.get_by_label("What groups of people get, by").select_option(name)
            lines = page.locator("#groups tr").all_inner_texts()[1:]
            assert [line.split("\t")[0] for line in lines] == [one["group"] for one in parts]
            assert f"{100 * parts[0]['shares'][0]:.1f}%" in lines[0]


@pytest.mark.parametrize("name", ODD)
def test_odd_names_are_shown_letter_by_letter(name: str, browser: Browser, tmp_path: Path) -> None:
    found = full_metrics(name)
    found["arms"] = {name: found["arms"]["none"], f"{name}2": found["arms"]["10%"]}
    found |= {"name": name, "data": name, "left_out": [[name, name]]}
    report = replace(run_report(found, history(), name), plots={})  # which other tests draw
    with opened(browser, saved(tmp_path, report.files()), PHONE) as page:
        assert text_of(page, "h1") == f"{name} on {name}"
        assert page.locator("#shares .name").all_inner_texts() == [name, f"{name}2"]
        assert page.locator("#column option").all_text_contents() == [name]
        assert page.locator("main b").count() == 0
        assert wider_than_the_screen(page) == 0


def wider_than_the_screen(page: Page) -> int:
    width: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    return width


@pytest.fixture(scope="session", params=["run", "comparison", "suite", "segments"])
def any_page(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, sample_page: Path
) -> Path:
    """A page of every kind."""
    if request.param == "run":
        return sample_page
    tmp_path = tmp_path_factory.mktemp(request.param)
    if request.param == "segments":
        return saved(tmp_path, segment_files(SEGMENTS, "method: x"))
    report = {
        "comparison": lambda: comparison_report(comparison(), "method: x"),
        "suite": lambda: suite_report(CONFIG, [*rows(), *rows("two|3")], "name: x"),
    }[request.param]()
    return saved(tmp_path, report.files())


@pytest.mark.parametrize("width", [PHONE, TABLET, DESK])
def test_no_page_is_wider_than_its_screen(any_page: Path, width: int, browser: Browser) -> None:
    with opened(browser, any_page, width) as page:
        assert wider_than_the_screen(page) == 0
        smallest = page.evaluate(
            "Math.min(...[...document.querySelectorAll('body *')].filter((one) => one.textContent)"
            ".map((one) => parseFloat(getComputedStyle(one).fontSize)))"
        )
        assert smallest >= 12


# Relative luminance and contrast: WCAG 2.2, 1.4.3.
FAINT = """() => {
  const light = (text) => {
    const [r, g, b] = text.match(/[0-9.]+/g).map((one) => {
      const share = Number(one) / 255;
      return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (one) => {
    for (let at = one; at; at = at.parentElement) {
      const found = getComputedStyle(at).backgroundColor;
      if (found !== "rgba(0, 0, 0, 0)") return found;
    }
    return "rgb(255, 255, 255)";
  };
  return [...document.querySelectorAll("body *")]
    .filter((one) => [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()))
    .filter((one) => !["SCRIPT", "OPTION"].includes(one.tagName))
    .filter((one) => {
      const [dark, bright] = [light(getComputedStyle(one).color), light(behind(one))]
        .sort((a, b) => a - b);
      return (bright + 0.05) / (dark + 0.05) < 4.5;
    }).map((one) => one.outerHTML.slice(0, 80));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_what_is_behind_it(
    any_page: Path, scheme: str, browser: Browser
) -> None:
    with opened(browser, any_page, color_scheme=scheme) as page:
        assert page.evaluate(FAINT) == []


def test_a_page_can_be_read_aloud(any_page: Path, browser: Browser) -> None:
    with opened(browser, any_page) as page:
        assert page.locator("html").get_attribute("lang") == "en"
        levels = [
            int(one[1])
            for one in page.evaluate(
                "[...document.querySelectorAll('h1,h2,h3,h4')].map((one) => one.tagName)"
            )
        ]
        assert levels[0] == 1
        assert all(after <= before + 1 for before, after in pairwise(levels))
        for image in page.locator("img").all():
            assert (image.get_attribute("alt") or "").startswith("Plot: ")
        for field in page.locator("input, select").all():
            assert field.evaluate("one => one.labels.length") == 1
        for cell in page.locator("th").all():
            assert cell.get_attribute("scope") == "col"


def test_the_part_for_the_author_is_folded_until_it_is_opened(
    browser: Browser, sample_page: Path
) -> None:
    with opened(browser, sample_page) as page:
        config = page.locator("pre")
        assert not config.is_visible()
        page.locator("summary").focus()
        page.keyboard.press("Enter")
        assert config.is_visible()


def test_a_page_can_be_read_without_its_script(browser: Browser, sample_page: Path) -> None:
    with opened(browser, sample_page, java_script_enabled=False) as page:
        assert "moves with JavaScript" in text_of(page, "#outlook")
        assert "5,000 [4,000, 6,000]" in text_of(page, ".lead >> nth=0")


def test_what_is_printed_fits_the_paper(any_page: Path, browser: Browser) -> None:
    with opened(browser, any_page, PAPER) as page:
        page.emulate_media(media="print")
        assert wider_than_the_screen(page) == 0
        assert page.pdf(format="A4").startswith(b"%PDF")
