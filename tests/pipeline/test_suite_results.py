import json
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfl.config import read_study
from dfl.errors import DataError, RunFolderError, WriteError
from dfl.pipeline.suite_results import RESULTS, SuiteResults


def row(seed: int = 0, **more: object) -> dict[str, object]:
    config = json.dumps({"training": {"epochs": 3}, "method": "m"})
    return {"data": "d", "method": "m", "seed": seed, "config": config} | more


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = SuiteResults(tmp_path / RESULTS, {"name": "ö 'odd' | \n name", "methods": {"m": {}}})
    results = results.with_rows([row(1, a=0.5), row(0, a=None, b="x"), row(1, a=0.25)]).write()
    again = SuiteResults.read(tmp_path / RESULTS)
    assert again.config == results.config
    assert [one["seed"] for one in again.rows] == [0, 1]
    assert (again.rows[0]["a"], again.rows[0]["b"]) == (None, "x")
    assert (again.rows[1]["a"], again.rows[1]["b"]) == (0.25, None)
    assert "odd" in again.config_text


def test_a_suite_without_rows_is_one(tmp_path: Path) -> None:
    SuiteResults(tmp_path / RESULTS, {"name": "x"}).write()
    assert SuiteResults.read(tmp_path / RESULTS).rows == []


def test_columns_of_which_nothing_is_known_have_a_type(tmp_path: Path) -> None:
    """So that the files of two suites, one of which failed somewhere, are one table."""
    names = {"failed": "it diverged", "epochs": 3, "rct_rows": 100, "aucc@share=0.3": 0.5}
    tables = []
    for folder, rows in (("a", []), ("b", [row(**dict.fromkeys(names))]), ("c", [row(**names)])):
        (tmp_path / folder).mkdir()
        SuiteResults(tmp_path / folder / RESULTS, {}).with_rows(rows).write()
        tables.append(pq.read_table(tmp_path / folder / RESULTS))
    assert tables[1].schema.types == tables[2].schema.types
    assert len(pa.concat_tables(tables[1:])) == 2
    assert [*map(str, tables[0].schema.types)] == ["string", "string", "int64"]


def test_what_is_missing(tmp_path: Path) -> None:
    results = SuiteResults(tmp_path / RESULTS, {}).with_rows([row(1)])
    assert results.missing("d", "m", range(3)) == [0, 2]
    assert results.missing("d", "other", range(2)) == [0, 1]


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    results = SuiteResults(tmp_path / RESULTS, {}).with_rows([row(1)])
    same = {"training": {"epochs": 3}, "method": "m"}
    results.check_made_by({("d", "m"): same, ("d", "new"): {}})
    results.check_made_by({})  # a method that is left out today keeps its rows
    for changed, said in (
        ({**same, "training": {"epochs": 4}}, "training.epochs was 3, is now 4"),
        ({**same, "layer": {"name": "softmax"}}, "layer was None, is now"),
    ):
        with pytest.raises(RunFolderError, match=f"holds m on d with other settings \\({said}"):
            results.check_made_by({("d", "m"): changed})


def test_options_that_came_later_count_as_their_defaults(tmp_path: Path) -> None:
    now = read_study({"method": "tsm-sl", "training": {"epochs": 3}}).config
    then = json.loads(json.dumps(now))
    del then["training"]["averaging"], then["data"]["idle_features"]
    results = SuiteResults(tmp_path / RESULTS, {}).with_rows([row(1, config=json.dumps(then))])
    results.check_made_by({("d", "m"): now})
    changed = read_study({"method": "tsm-sl", "training": {"epochs": 3, "averaging": 0.2}}).config
    with pytest.raises(RunFolderError, match=r"training\.averaging was 0\.1, is now 0\.2"):
        results.check_made_by({("d", "m"): changed})


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / RESULTS
    with pytest.raises(RunFolderError, match="holds no suite: it has no"):
        SuiteResults.read(path)
    SuiteResults(path, {"name": "x"}).with_rows(row(k, a=k / 7) for k in range(50)).write()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match="is unreadable, or no suite's"):
        SuiteResults.read(path)
    path.write_bytes(whole[:200] + bytes([whole[200] ^ 255]) + whole[201:])
    with pytest.raises(DataError, match="is unreadable, or no suite's"):
        SuiteResults.read(path)


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / RESULTS
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(DataError, match="is unreadable, or no suite's"):
        SuiteResults.read(path)
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata({"dfl.suite": "{}"}), path)
    with pytest.raises(DataError, match="is unreadable, or no suite's"):
        SuiteResults.read(path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"config": None}, "row 1 must have text as config, got None"),
        ({"config": '{"method": '}, "row 1 must have a JSON object as config, got '{"),
        ({"config": "3"}, "row 1 must have a JSON object as config, got '3'"),
    ],
)
def test_rows_that_do_not_say_how_they_were_made(
    tmp_path: Path, changed: dict[str, object], said: str
) -> None:
    path = tmp_path / RESULTS
    SuiteResults(path, {}).with_rows([row(0), row(1, **changed)]).write()
    with pytest.raises(DataError, match=f"is no suite's: its {re.escape(said)}"):
        SuiteResults.read(path)


def test_rows_without_a_seed_or_a_configuration(tmp_path: Path) -> None:
    path = tmp_path / RESULTS
    SuiteResults(path, {}, [row() | {"seed": None}]).write()
    with pytest.raises(DataError, match="row 0 must have a whole number as seed, got None"):
        SuiteResults.read(path)
    SuiteResults(path, {}, [{"data": "d", "method": "m", "seed": 0}]).write()
    with pytest.raises(DataError, match="row 0 must have text as config, got None"):
        SuiteResults.read(path)


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = SuiteResults(tmp_path / RESULTS, {"name": "x"}).with_rows([row()]).write()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dfl.pipeline.suite_results.pq.write_table", full)
    with pytest.raises(WriteError, match="No space left on device"):
        results.with_rows([row(1)]).write()
    assert len(SuiteResults.read(tmp_path / RESULTS).rows) == 1
