import csv
import io
import json
from dataclasses import replace

import pytest

from dfl.lab import Finding, Findings
from dfl.lab.picture import picture


def layer(name: str, cosine: float | None, milliseconds: float = 1.0, note: str = "") -> Finding:
    return Finding(
        family="layers",
        name=name,
        cosine=cosine,
        cosine_error=None if cosine is None else 0.02,
        milliseconds=milliseconds,
        note=note,
    )


def bilevel(name: str, cosine: float | None, milliseconds: float = 1.0) -> Finding:
    return replace(layer(name, cosine, milliseconds), family="hypergrad")


FOUND = Findings(
    layers=[layer("slow", 0.9, 9.0), layer("quick", 0.87, 1.0), layer("off", 0.2, 0.1)],
    hypergradients=[bilevel("true", 1.0, 9.0), bilevel("near", 0.96, 2.0), bilevel("far", 0.5)],
    rows=100,
    weights=12,
    repeatability=0.8,
)


def test_the_quickest_of_those_that_are_level_is_recommended() -> None:
    assert FOUND.recommendation == (
        "Layer: take quick: cosine 0.87 at 1 ms; level with it, and slower: slow. Hypergradient: "
        "take near, the fastest whose cosine is 0.95 or more (0.96 at 2 ms)."
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"layers": [layer("slow", 0.9)]}, "take slow: cosine 0.90 at 1 ms; no other comes near."),
        ({"repeatability": 0.05}, "too small or too noisy to tell layers apart .*by 0.05"),
        ({"layers": [layer("x", None)]}, "No layer could take this batch"),
        ({"hypergradients": [bilevel("far", 0.5)]}, r"take far, the nearest \(cosine 0.50\)"),
        ({"hypergradients": []}, "No hypergradient could take this batch"),
    ],
)
def test_other_recommendations(changed: dict[str, object], said: str) -> None:
    import re

    assert re.search(said, replace(FOUND, **changed).recommendation)  # type: ignore[arg-type]


def test_tables_put_the_best_first_and_what_is_missing_last() -> None:
    found = replace(FOUND, layers=[layer("none", None, note="why"), *FOUND.layers])
    layers, hypergradients = found.tables()
    assert [row[0] for row in layers.rows] == ["slow", "quick", "off", "none"]
    assert layers.rows[-1][-1] == "why"
    assert [row[0] for row in hypergradients.rows] == ["true", "near", "far"]
    assert all(len(row) == len(layers.columns) for row in layers.rows)
    assert "100 rows, a linear model of 12 weights" in layers.note


def test_plain_data_and_csv_hold_every_finding() -> None:
    content = json.loads(json.dumps(FOUND.content(), allow_nan=False))
    rows = [*csv.DictReader(io.StringIO(FOUND.csv()))]
    names = [one["name"] for one in (*content["layers"], *content["hypergradients"])]
    assert names == [row["name"] for row in rows]
    assert rows[0]["cosine"] == "0.9"
    assert rows[0]["noise"] == ""
    assert content["recommendation"] == FOUND.recommendation


def test_the_picture_is_one() -> None:
    assert picture(FOUND).startswith(b"\x89PNG")
