"""Names of treatments and columns that mean something to plots, terminals, pages or shells."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from dfl.config import to_yaml
from tests.cli.outcome import invoke
from tests.pipeline.tiny import tiny_config, write_shop

NAMES = [
    ("$5 off", "$10 off"),
    ("_hidden", "^x_{1}$"),
    ("50%", "100%%"),
    ("[red]a[/red]", "[/]"),
    ("<script>alert(1)</script>", "&amp;"),
    ("\x1b[2J\x1b[31mred", "\x07be\x00ll"),
    (":boom:", "{{ 7 * 7 }}"),
    ("\\frac{1}{2}$", "$\\undefined{x}$"),
    ("new\nline", "tab\tbed"),
    ("日本語", "😀 smile"),
    ("x" * 3000, "y" * 3000),
    ("\u202eright to left", "a,b;c'd\"e"),
    ("1e5", "null"),
    ("None", "NA"),
]


def write(path: Path, names: tuple[str, str]) -> dict[str, Any]:
    data = write_shop(path, 800)
    table = pd.read_parquet(path)
    table["arm"] = np.where(table["arm"] == "mail", names[0], names[1])
    table.rename(columns={"age": f"age {names[0]}", "city": f"city {names[1]}"}).to_parquet(path)
    return data | {
        "cost": {names[0]: 1.0, names[1]: 2.0},
        "features": [f"age {names[0]}", f"city {names[1]}"],
    }


@pytest.mark.parametrize(
    "names",
    [*NAMES[:6], *(pytest.param(one, marks=pytest.mark.faults) for one in NAMES[6:])],
    ids=range(len(NAMES)),
)
def test_a_name_is_text_everywhere(names: tuple[str, str], tmp_path: Path) -> None:
    data = write(tmp_path / "shop.parquet", names)
    (tmp_path / "shop.yaml").write_text(to_yaml(tiny_config(data=data)), encoding="utf-8")
    done = invoke("run", tmp_path / "shop.yaml", "-o", tmp_path / "run")
    assert done.code == 0, done.text
    assert "\x1b[2J" not in done.text
    assert len(list((tmp_path / "run" / "plots").iterdir())) == 5
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "could not be drawn" not in page
    assert "<script>" not in page
    again = invoke("report", tmp_path / "run")
    assert again.code == 0, again.text
    output = tmp_path / "allocation.parquet"
    given = invoke(
        *("allocate", tmp_path / "run", tmp_path / "shop.parquet", "-o", output),
        *("--budget-share", 0.4),
    )
    assert given.code == 0, given.text
    assert set(pd.read_parquet(output)["treatment_name"]) <= set(names)


def test_a_plot_that_fails_costs_nothing_but_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dfl.report import plots as module

    def broken(axes: object, results: object) -> None:
        raise RuntimeError("no <font>")

    monkeypatch.setattr(module, "RUN_PLOTS", {**module.RUN_PLOTS, "training": broken})
    (tmp_path / "mine.yaml").write_text(to_yaml(tiny_config()))
    done = invoke("run", tmp_path / "mine.yaml", "-o", tmp_path / "run")
    assert done.code == 0, done.text
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Plots that could not be drawn" in page
    assert "RuntimeError: no &lt;font&gt;" in page
    assert len(list((tmp_path / "run" / "plots").iterdir())) == 4
