import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfl.budget import Budget
from dfl.data import DataWarning
from dfl.errors import (
    ConfigError,
    DataError,
    DataNotFoundError,
    InfeasibleBudgetError,
    InvalidValueError,
    RunFolderError,
    WriteError,
)
from dfl.pipeline import CustomerAllocation, RunFolder, Silent, allocate_file, customers, run
from dfl.scale import Chunks, ranks
from tests.pipeline.tiny import tiny_study, write_shop


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run on a table whose treatments cost 1 and 2."""
    path = tmp_path_factory.mktemp("run")
    return run(tiny_study(data=write_shop(path / "shop.parquet")), path / "run", Silent())


def write_customers(path: Path, rows: int = 500, **columns: Any) -> Path:
    generator = np.random.default_rng(1)
    table = {
        "id": [f"c{row}" for row in range(rows)],
        "city": generator.choice(["south", "north"], rows),
        "age": generator.normal(size=rows),
        **columns,
    }
    pd.DataFrame(table).to_parquet(path, index=False)
    return path


def allocate(
    folder: RunFolder, path: Path, budget: Budget, output: Path | None = None, **options: Any
) -> tuple[CustomerAllocation, pd.DataFrame]:
    output = path.with_name("allocation.parquet") if output is None else output
    done = allocate_file(folder, path, output, budget, overwrite=True, **options)
    return done, pd.read_parquet(output)


@pytest.mark.parametrize(
    ("budget", "total"),
    [(Budget(per_head=1.3), 650.0), (Budget(total=700), 700.0), (Budget(share=0.25), 625.0)],
)
def test_every_row_gets_a_treatment_within_the_budget(
    folder: RunFolder, tmp_path: Path, budget: Budget, total: float
) -> None:
    done, table = allocate(folder, write_customers(tmp_path / "c.parquet"), budget)
    assert done.budget == pytest.approx(total)
    assert list(table["row"]) == list(range(500))
    assert set(table["treatment"]) == {0, 1}
    assert table["predicted_cost"].astype(float).sum() <= done.budget * (1 + 1e-6)
    assert float(done.allocation.cost) <= done.budget * (1 + 1e-9)
    assert done.people == {
        "mail": int((table["treatment"] == 0).sum()),
        "letter": int((table["treatment"] == 1).sum()),
    }
    names = table["treatment"].map({0: "mail", 1: "letter"})
    assert (names == table["treatment_name"].astype(str)).all()


def test_more_budget_buys_more(folder: RunFolder, tmp_path: Path) -> None:
    path = write_customers(tmp_path / "c.parquet")
    low, _ = allocate(folder, path, Budget(per_head=1.1))
    high, _ = allocate(folder, path, Budget(per_head=1.6))
    assert float(high.allocation.revenue) > float(low.allocation.revenue)


def test_rows_keep_their_order_in_chunks_of_any_size(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_customers(tmp_path / "c.parquet")
    _, whole = allocate(folder, path, Budget(per_head=1.3), keep=("id", "age"))
    monkeypatch.setattr(customers, "STREAMED", Chunks(64))
    pq.write_table(pq.read_table(path), path, row_group_size=150)
    _, chunked = allocate(folder, path, Budget(per_head=1.3), keep=("id", "age"))
    pd.testing.assert_frame_equal(whole, chunked)
    assert list(chunked["id"]) == [f"c{row}" for row in range(500)]
    assert list(chunked.columns) == [
        "row",
        "id",
        "age",
        "treatment",
        "treatment_name",
        "predicted_revenue",
        "predicted_cost",
    ]


def test_people_unlike_the_training_rows_are_warned_of(folder: RunFolder, tmp_path: Path) -> None:
    older = 1 + np.random.default_rng(2).normal(size=500)
    path = write_customers(tmp_path / "c.parquet", age=older, city=["north"] * 500)
    found = folder.read_json("metrics.json")["health"]["trained"]
    shift = (older.mean() - found["mean"][0]) / found["spread"][0]
    assert found["features"] == ["age", "city=north", "city=south"]
    with pytest.warns(DataWarning, match=rf"city=north by .* age by \{shift:+.2f} standard"):
        allocate(folder, path, Budget(per_head=1.3))


def test_another_solver(folder: RunFolder, tmp_path: Path) -> None:
    path = write_customers(tmp_path / "c.parquet")
    done, _ = allocate(folder, path, Budget(per_head=1.3), solver="dual-bisection")
    assert float(done.allocation.cost) <= done.budget * (1 + 1e-9)
    with pytest.raises(ConfigError, match=r"solver: 'greedy' is not among the solvers"):
        allocate(folder, path, Budget(per_head=1.3), solver="greedy")


def test_rows_of_a_file_are_all_there_are_in_several_processes(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_customers(tmp_path / "c.parquet")
    alone, _ = allocate(folder, path, Budget(per_head=1.3), solver="dual-bisection")
    monkeypatch.setattr(ranks, "_initialised", lambda: True)
    for name, value in (("get_rank", 0), ("get_world_size", 2)):  # a sum over both would fail
        monkeypatch.setattr(ranks.distributed, name, lambda value=value: value)
    done, _ = allocate(folder, path, Budget(per_head=1.3), solver="dual-bisection")
    assert float(done.allocation.cost) == float(alone.allocation.cost)


def test_a_file_without_rows(folder: RunFolder, tmp_path: Path) -> None:
    path = write_customers(tmp_path / "c.parquet")
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    done, table = allocate(folder, path, Budget(per_head=1.3), keep=("id",))
    assert len(table) == 0
    assert sum(done.people.values()) == 0


@pytest.mark.parametrize(
    ("columns", "keep", "message"),
    [
        ({"age": "x"}, (), r"rows 0 to 499: column 'age' must hold numbers"),
        ({"city": "east"}, (), r"rows 0 to 499: column 'city' must hold one of .*'east' in row 0"),
        ({"age": float("nan")}, (), r"rows 0 to 499: column 'age' must have no missing value"),
        ({}, ("ID",), r"must have the columns \['ID'\], .*--keep names; it has \['id', 'city'"),
    ],
)
def test_customers_that_cannot_be_encoded(
    folder: RunFolder, tmp_path: Path, columns: Any, keep: tuple[str, ...], message: str
) -> None:
    path = write_customers(tmp_path / "c.parquet", **columns)
    with pytest.raises(DataError, match=message):
        allocate(folder, path, Budget(per_head=1.3), keep=keep)
    assert not (tmp_path / "allocation.parquet").exists()


def test_missing_columns_are_named(folder: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    pd.DataFrame({"age": [1.0]}).to_parquet(path)
    with pytest.raises(DataError, match=r"must have the columns \['city'\], which the model was"):
        allocate(folder, path, Budget(per_head=1.3))


def test_customers_that_are_missing_or_unreadable(folder: RunFolder, tmp_path: Path) -> None:
    path = tmp_path / "c.parquet"
    with pytest.raises(DataNotFoundError, match="no data file"):
        allocate(folder, path, Budget(per_head=1.3))
    path.write_text("id,age\n1,2\n")
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        allocate(folder, path, Budget(per_head=1.3))
    write_customers(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        allocate(folder, path, Budget(per_head=1.3))


def test_a_file_damaged_in_the_middle(folder: RunFolder, tmp_path: Path) -> None:
    path = write_customers(tmp_path / "c.parquet")
    content = bytearray(path.read_bytes())
    end = len(content) - 8 - int.from_bytes(content[-8:-4], "little")  # the footer stays whole
    content[4:end] = b"\xff" * (end - 4)
    path.write_bytes(content)
    with pytest.raises(DataError, match="is not a readable Parquet file"):
        allocate(folder, path, Budget(per_head=1.3))


def test_a_budget_below_the_cheapest_allocation(folder: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleBudgetError, match="at least the cost of the cheapest choice"):
        allocate(folder, write_customers(tmp_path / "c.parquet"), Budget(per_head=0.9))


def test_output_must_not_replace_the_customers(folder: RunFolder, tmp_path: Path) -> None:
    path = write_customers(tmp_path / "c.parquet")
    before = path.read_bytes()
    with pytest.raises(InvalidValueError, match="output must be another file than the customers"):
        allocate_file(folder, path, path, Budget(per_head=1.3))
    assert path.read_bytes() == before


def as_csv(path: Path, mark: str = ",") -> Path:
    """Write the customers of a Parquet file as text."""
    name = path.with_suffix(".csv" if mark == "," else ".tsv")
    pd.read_parquet(path).to_csv(name, index=False, sep=mark)
    return name


@pytest.mark.parametrize("mark", [",", "\t"])
@pytest.mark.parametrize("ending", ["parquet", "csv", "csv.gz", "tsv"])
def test_text_in_and_out_is_the_same_allocation(
    folder: RunFolder, tmp_path: Path, mark: str, ending: str
) -> None:
    path = write_customers(tmp_path / "c.parquet", member=[f"{row:05}" for row in range(500)])
    budget, keep = Budget(per_head=1.3), ("id", "member")
    _, whole = allocate(folder, path, budget, keep=keep)
    output = tmp_path / f"out.{ending}"
    allocate_file(folder, as_csv(path, mark), output, budget, keep=keep)
    if ending == "parquet":
        found = pd.read_parquet(output)
    else:
        sep = "\t" if ending == "tsv" else ","
        found = pd.read_csv(output, sep=sep, dtype={"member": str, "id": str})
    assert list(found.columns) == list(whole.columns)
    assert found["member"].tolist() == [f"{row:05}" for row in range(500)]
    for name in ("row", "id", "treatment"):
        assert found[name].tolist() == whole[name].tolist()
    assert found["treatment_name"].astype(str).tolist() == whole["treatment_name"].tolist()
    np.testing.assert_allclose(found["predicted_cost"], whole["predicted_cost"], rtol=1e-6)


def test_an_id_that_is_a_huge_number_is_carried_over_as_it_stands(
    folder: RunFolder, tmp_path: Path
) -> None:
    ids = [str(2**80 + row) for row in range(500)]
    path = as_csv(write_customers(tmp_path / "c.parquet", id=ids))
    allocate_file(folder, path, tmp_path / "out.csv", Budget(per_head=1.3), keep=("id", "id"))
    assert pd.read_csv(tmp_path / "out.csv", dtype=str)["id"].tolist() == ids


def test_codes_of_text_stay_text_whatever_the_customers_are(
    folder: RunFolder, tmp_path: Path
) -> None:
    shutil.copytree(folder.path, tmp_path / "run")
    copy = RunFolder.open(tmp_path / "run")
    content = copy.read_json("encoder.json")
    city = next(one for one in content["columns"] if one["name"] == "city")
    city["categories"] = ["0501", "0602"]  # in place of north and south
    copy.write_json("encoder.json", content)
    copy.seal("encoder.json")

    path = write_customers(tmp_path / "c.parquet")
    _, named = allocate(folder, path, Budget(per_head=1.3))
    codes = pd.read_parquet(path).replace({"city": {"north": "0501", "south": "0602"}})
    codes.to_csv(tmp_path / "c.csv", index=False)
    output = tmp_path / "out.csv"
    allocate_file(copy, tmp_path / "c.csv", output, Budget(per_head=1.3), keep=("city", "age"))
    found, given = (pd.read_csv(one, dtype=str) for one in (output, tmp_path / "c.csv"))
    assert found["treatment"].astype(int).tolist() == named["treatment"].tolist()
    for name in ("city", "age"):
        assert found[name].tolist() == given[name].tolist()


def test_a_feature_is_carried_over_as_the_text_that_it_is(
    folder: RunFolder, tmp_path: Path
) -> None:
    ages = [f"{'-' * (row % 2)}00.50" for row in range(500)]
    path = as_csv(write_customers(tmp_path / "c.parquet", age=ages))
    allocate_file(folder, path, tmp_path / "out.csv", Budget(per_head=1.3), keep=("age",))
    assert pd.read_csv(tmp_path / "out.csv", dtype=str)["age"].tolist() == ages


def test_rows_of_text_come_in_chunks_too(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = as_csv(write_customers(tmp_path / "c.parquet"))
    outputs = [tmp_path / "whole.csv", tmp_path / "chunks.csv"]
    allocate_file(folder, path, outputs[0], Budget(per_head=1.3), keep=("id",))
    monkeypatch.setattr(customers, "STREAMED", Chunks(64))
    allocate_file(folder, path, outputs[1], Budget(per_head=1.3), keep=("id",))
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_an_output_is_never_overwritten_in_silence(folder: RunFolder, tmp_path: Path) -> None:
    path = write_customers(tmp_path / "c.parquet")
    output = tmp_path / "out.csv"
    output.write_text("mine")
    with pytest.raises(InvalidValueError, match=r"out.csv exists already; .* --overwrite"):
        allocate_file(folder, path, output, Budget(per_head=1.3))
    assert output.read_text() == "mine"
    allocate_file(folder, path, output, Budget(per_head=1.3), overwrite=True)
    assert len(pd.read_csv(output)) == 500


@pytest.mark.parametrize("name", ["out.xlsx", "out", "out.json", "out.parquet.part"])
def test_the_name_of_the_output_says_what_is_written(
    folder: RunFolder, tmp_path: Path, name: str
) -> None:
    path = write_customers(tmp_path / "c.parquet")
    with pytest.raises(InvalidValueError, match=r"output must end in one of .parquet, .csv"):
        allocate_file(folder, path, tmp_path / name, Budget(per_head=1.3))
    with pytest.raises(InvalidValueError, match="output must lie in a folder that exists"):
        allocate_file(folder, path, tmp_path / "none" / "o.csv", Budget(per_head=1.3))


def test_customers_are_looked_for_in_the_data_folder(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    write_customers(tmp_path / "data" / "c.parquet")
    monkeypatch.setenv("DFL_DATA", str(tmp_path / "data"))
    done = allocate_file(folder, Path("c.parquet"), tmp_path / "o.csv", Budget(per_head=1.3))
    assert sum(done.people.values()) == 500
    with pytest.raises(InvalidValueError, match="output must be another file than the customers"):
        allocate(folder, Path("c.parquet"), Budget(per_head=1.3), tmp_path / "data" / "c.parquet")


def test_columns_that_a_text_file_cannot_hold(folder: RunFolder, tmp_path: Path) -> None:
    path = write_customers(tmp_path / "c.parquet", baskets=[[1, 2]] * 500)
    with pytest.raises(DataError, match=r"kept columns \['baskets'\] cannot be written"):
        allocate_file(folder, path, tmp_path / "o.csv", Budget(per_head=1.3), keep=("baskets",))
    assert not (tmp_path / "o.csv").exists()
    allocate_file(folder, path, tmp_path / "o.parquet", Budget(per_head=1.3), keep=("baskets",))
    assert pd.read_parquet(tmp_path / "o.parquet")["baskets"][0].tolist() == [1, 2]


def test_a_saved_index_is_carried_over_by_its_name(folder: RunFolder, tmp_path: Path) -> None:
    path = write_customers(tmp_path / "c.parquet")
    pd.read_parquet(path).set_index("id").to_parquet(path)
    _, table = allocate(folder, path, Budget(per_head=1.3), keep=("id",))
    assert table["id"].tolist() == [f"c{row}" for row in range(500)]


def test_what_was_measured_stands_beside_what_is_predicted(
    folder: RunFolder, tmp_path: Path
) -> None:
    path = write_customers(tmp_path / "c.parquet")
    held = allocate(folder, path, Budget(per_head=1.3))[0].held_out
    assert held is not None
    assert held.low < held.value < held.high
    metrics = folder.read_json("metrics.json")
    budgets = [point["budget"] for point in metrics["curve"]]
    budgets += [point["per_head"] for point in metrics["budgets"]]
    assert held.budget == min(budgets, key=lambda one: abs(one - 1.3))
    elsewhere = tmp_path / "run"
    elsewhere.mkdir()
    for name in ("encoder.json", "config.yaml", "model.safetensors"):
        (elsewhere / name).write_bytes((folder.path / name).read_bytes())
    done, _ = allocate(RunFolder.open(elsewhere), path, Budget(per_head=1.3))
    assert done.held_out is None


def test_kept_columns_must_not_be_ours(folder: RunFolder, tmp_path: Path) -> None:
    path = write_customers(tmp_path / "c.parquet", treatment=1)
    with pytest.raises(InvalidValueError, match=r"written, got \['treatment'\]"):
        allocate(folder, path, Budget(per_head=1.3), keep=("treatment",))


def test_a_full_disk_leaves_no_output(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: pq.ParquetWriter, table: pa.Table) -> None:
        raise OSError(28, "No space left on device")

    path = write_customers(tmp_path / "c.parquet")
    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(WriteError, match="No space left on device"):
        allocate(folder, path, Budget(per_head=1.3))
    assert [path.name for path in tmp_path.iterdir()] == ["c.parquet"]


def test_a_run_that_is_not_finished(tmp_path: Path) -> None:
    started = RunFolder.create(tmp_path / "run", tiny_study().config)
    with pytest.raises(
        RunFolderError, match=r"model.safetensors is missing: the run did not finish"
    ):
        allocate(started, write_customers(tmp_path / "c.parquet"), Budget(per_head=1.3))


def with_spend(folder: RunFolder, path: Path, **spend: Any) -> RunFolder:
    """Copy a run, and let it have measured this at all budgets."""
    shutil.copytree(folder.path, path)
    copy = RunFolder.open(path)
    metrics = copy.read_json("metrics.json")
    metrics["spend"] = {one["given"]: dict(spend) or None for one in metrics["budgets"]}
    copy.write_json("metrics.json", metrics)
    copy.seal("metrics.json")
    return copy


def test_a_margin_leaves_a_part_of_the_budget(folder: RunFolder, tmp_path: Path) -> None:
    run = with_spend(folder, tmp_path / "run", value=1.05, standard_error=0.02)
    path = write_customers(tmp_path / "c.parquet")
    budget = Budget(total=700)
    done, _ = allocate(run, path, budget, margin=0.95)
    assert done.margin is not None
    assert done.budget == 700
    assert done.margin.share == pytest.approx(1 / (1.05 + 1.6448536 * 0.02))
    assert float(done.allocation.cost) <= done.margin.share * 700
    assert float(done.allocation.cost) > done.margin.share * 700 - 2
    said = json.loads(pq.read_schema(tmp_path / "allocation.parquet").metadata[b"dfl"])
    assert said == {"budget": 700.0, "margin": dataclasses.asdict(done.margin)}
    whole, _ = allocate(run, path, budget)
    assert whole.margin is None
    assert float(whole.allocation.cost) > float(done.allocation.cost)
    allocate(run, path, budget, tmp_path / "o.parquet", margin=0.5)


def test_a_margin_that_leaves_too_little(folder: RunFolder, tmp_path: Path) -> None:
    run = with_spend(folder, tmp_path / "run", value=1.5, standard_error=0.0)
    path = write_customers(tmp_path / "c.parquet")
    with pytest.raises(InfeasibleBudgetError, match=r"600 leaves 400 by the margin.*to 750 or"):
        allocate(run, path, Budget(total=600), margin=0.95)
    with pytest.raises(InfeasibleBudgetError, match="at least the cost of the cheapest choice"):
        allocate(run, path, Budget(total=400), margin=0.95)


def test_a_margin_of_a_run_that_measured_none(folder: RunFolder, tmp_path: Path) -> None:
    run = with_spend(folder, tmp_path / "run")
    path = write_customers(tmp_path / "c.parquet")
    with pytest.raises(InvalidValueError, match="which this run has not measured"):
        allocate(run, path, Budget(total=700), margin=0.95)
    assert not (tmp_path / "allocation.parquet").exists()
