"""Tables and configurations that no one should write: a line, never a traceback or half a run."""

import copy
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dfl.config import to_yaml
from tests.cli.outcome import Outcome, invoke
from tests.pipeline.tiny import tiny_config, write_shop

FEW, ALL = 12, 300


def problem(done: Outcome, path: Path) -> str | None:
    """Say what is wrong unless it ran, or was refused by a line and left nothing finished."""
    finished = (path / "report.html").exists()
    if done.code == 0 and finished:
        return None
    line = "error: " in done.text and not {"unforeseen", "Traceback"} & set(done.text.split())
    return None if done.code == 2 and line and not finished else done.text[-400:]


# Tables ----------------------------------------------------------------------------------------

WILD_TEXT = [
    "",
    " ",
    "NA",
    "None",
    "nan",
    "$x$",
    "[b]",
    "\x00",
    "é",
    "1",
    "true",
    "2020-01-01",
    "a,b",
]
WILD_NUMBERS = [0.0, -1.0, 1e308, -1e308, math.inf, -math.inf, math.nan, 1e-320, 2.0**53 + 1, 1e30]


def spoil(table: pd.DataFrame, draw: random.Random) -> pd.DataFrame:
    """Change a table in one of the ways in which tables go wrong."""
    table = table.copy()
    name = draw.choice(list(table.columns))
    rows = draw.sample(range(len(table)), draw.choice([1, 5, len(table) // 2, len(table)]))
    way = draw.randrange(14)
    if way == 0:
        return table.drop(columns=name)
    if way == 1:
        return table.rename(columns={name: draw.choice([*WILD_TEXT, name.upper()])})
    if way == 2:
        return table.iloc[: draw.choice([0, 1, 2, 3, 20])]
    if way == 3:
        table[name] = table[name].astype(object)
        table.loc[rows, name] = draw.choice(WILD_TEXT)
        table[name] = table[name].astype(str)
    elif way == 4:
        table[name] = pd.Series(np.resize(draw.sample(WILD_NUMBERS, 3), len(table)))
    elif way == 5:
        table[name] = pd.Series([None] * len(table), dtype=object)
    elif way == 6:
        table[name] = draw.choice([0, 1, "x", True, 2**40])
    elif way == 7:
        table[name] = pd.Series(range(len(table))).astype(draw.choice([str, float, int]))
    elif way == 8:
        table[name] = pd.date_range("2020-01-01", periods=len(table))
    elif way == 9:
        table[name] = [[1, 2]] * len(table)
    elif way == 10:
        table[name] = table[name].astype("category")
    elif way == 11:
        table.loc[rows, name] = None
    elif way == 12:
        return pd.concat([table, table[[name]].rename(columns={name: f"{name} "})], axis=1)
    else:
        return table.sort_values(name)
    return table


@pytest.mark.parametrize("how_many", [FEW, pytest.param(ALL, marks=pytest.mark.faults)])
def test_spoilt_tables(how_many: int, tmp_path: Path) -> None:
    data = write_shop(tmp_path / "shop.parquet", 400)
    whole = pd.read_parquet(tmp_path / "shop.parquet")
    ran = 0
    wrong: dict[int, str | None] = {}
    for number in range(how_many):
        draw = random.Random(number)
        table = spoil(whole, draw)
        if draw.random() < 0.3:
            table = spoil(table, draw) if len(table) > 20 and len(table.columns) > 3 else table
        kind = draw.choice(["csv", "parquet"])
        file, path = tmp_path / f"t{number}.{kind}", tmp_path / f"run-{number}"
        if kind == "csv":
            table.to_csv(file, index=draw.random() < 0.3)
        else:
            table.to_parquet(file)
        (tmp_path / "t.yaml").write_text(to_yaml(tiny_config(data={**data, "path": str(file)})))
        done = invoke("run", tmp_path / "t.yaml", "-o", path)
        ran += done.code == 0
        wrong[number] = problem(done, path)
    assert not {number: text for number, text in wrong.items() if text}
    assert 0 < ran < how_many


# Configurations --------------------------------------------------------------------------------

WILD: list[Any] = [
    *(None, True, False, -1, 0, 1, 3, 0.5, 1e308, -1e308, math.inf, -math.inf, math.nan, 2**70),
    *("", "x", "nan", "$x$", "2020-01-01", "tsm-sl", "softmax", [], {}, [[]], [{}], {"name": None}),
    *({"name": "x"}, [1, "a"], {"a": {"b": {"c": 1}}}, {1: 2}, [None], "\u202e", "a/b", ["x"] * 50),
]
METHODS = ["tsm-sl", "kd-label", {"name": "dfcl", "decision_epochs": 1}]


def places(config: Any) -> list[tuple[Any, Any]]:
    """Return every container with each of its keys."""
    if isinstance(config, dict):
        found = [(config, key) for key in config]
    elif isinstance(config, list):
        found = [(config, key) for key in range(len(config))]
    else:
        return []
    return found + [place for _, key in found for place in places(config[key])]


@pytest.mark.parametrize("how_many", [FEW, pytest.param(ALL, marks=pytest.mark.faults)])
def test_wild_configurations(how_many: int, tmp_path: Path) -> None:
    data = write_shop(tmp_path / "shop.parquet", 400)
    ran = 0
    wrong: dict[int, str | None] = {}
    for number in range(how_many):
        draw = random.Random(number)
        config = copy.deepcopy(tiny_config(draw.choice(METHODS)))
        if draw.random() < 0.5:
            config["data"] = copy.deepcopy(data)
        for _ in range(draw.choice([1, 1, 2])):
            where, key = draw.choice(places(config))
            way = draw.random()
            if way < 0.7:
                where[key] = copy.deepcopy(draw.choice(WILD))
            elif way < 0.85 and isinstance(where, dict):
                where[draw.choice(["seed", "nmae", "layer", "loss", "solver"])] = draw.choice(WILD)
            else:
                del where[key]
        (tmp_path / "t.yaml").write_text(to_yaml(config))
        path = tmp_path / f"run-{number}"
        done = invoke("run", tmp_path / "t.yaml", "-o", path)
        ran += done.code == 0
        wrong[number] = problem(done, path)
    assert not {number: text for number, text in wrong.items() if text}
    assert 0 < ran < how_many


# YAML ------------------------------------------------------------------------------------------

ATTACKS = [
    "method: !!python/object/apply:os.system ['true']",
    "method: !!python/name:os.system",
    "!!python/object/new:type {}",
    "method: !!binary aGk=",
    "method: !!set {a}",
    "method: !!omap [a: 1]",
    "method: !!pairs [a: 1]",
    "method: !!timestamp 2020-99-99",
    "seed: 2020-99-99",
    "seed: !!int x",
    "seed: !!float ''",
    "seed: !!bool maybe",
    "seed: !!null x",
    "method: !local x",
    "%YAML 9.9\n---\nmethod: tsm-sl",
    "%TAG ! tag:x,2000:\n---\nmethod: !x tsm-sl",
    "a: &a [*a]",
    "&a {b: *a}",
    "\n".join(
        ["a0: &a0 [x]", *(f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 9)}]" for k in range(1, 12))]
    ),
    "method: *nothing",
    "method: &a tsm-sl\nmethod: *a",
    "<<: {method: tsm-sl}",
    "? [a, b]\n: 1",
    "? {a: b}\n: 1",
    "[" * 3000,
    "{a: " * 3000,
    "- " * 3000 + "a",
    "method: '" + "x" * 100_000 + "'",
    "x: " + "1" * 10_000,
    "x" * 2_000_000,
    'method: "\\ud800"',
    'method: "\\x00"',
    "method: \x00",
    "\ufeff\ufeffmethod: tsm-sl",
    "--- {}\n--- {}",
    "...",
    "",
    "null",
    "method: tsm-sl\n\tseed: 1",
    "method: tsm-sl\nseed: 0x" + "F" * 40,
    "method: tsm-sl\nname: ../../etc/passwd",
    "method: tsm-sl\nname: |\n  a\n  b",
    "=: =",
    "method: {name: tsm-sl, name: dfcl}",
]


@pytest.mark.parametrize("attack", ATTACKS, ids=range(len(ATTACKS)))
def test_yaml_that_attacks(attack: str, tmp_path: Path) -> None:
    (tmp_path / "t.yaml").write_text(attack, encoding="utf-8", errors="surrogatepass")
    for command in (("run",), ("explain",)):
        end = ("-o", tmp_path / "run") if command == ("run",) else ()
        done = invoke(*command, tmp_path / "t.yaml", *end)
        assert done.code == 2, done.text[:500]
        assert done.text.startswith("error: "), done.text[:500]
        assert "unforeseen" not in done.text[:500]
        assert not (tmp_path / "run").exists()


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    for content in (b"\xff\xfe\x00", b"\x80abc", bytes(range(256))):
        (tmp_path / "t.yaml").write_bytes(content)
        done = invoke("run", tmp_path / "t.yaml", "-o", tmp_path / "run")
        assert (done.code, done.text.startswith("error: ")) == (2, True)
