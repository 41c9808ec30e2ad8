"""Files of customers are served block by block, or refused with a line."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dfl.data import FeatureEncoder
from dfl.errors import DataError, DataNotFoundError, InvalidValueError
from dfl.pipeline import assign_file
from dfl.segments import Tree
from dfl.segments.serving import ServedSegments
from tests.segments.made import plan

TREE = Tree(torch.tensor([0, 1, 1]), torch.tensor([0.0, 0.5, 0.5]), torch.tensor([0, 1, 2, 2]), 2)
SERVED = ServedSegments(
    TREE, plan(), ("none", "5 %", "10 %"), FeatureEncoder.numeric(("age", "visits"))
)


def write(path: Path, rows: int = 1_000, group: int = 300) -> pd.DataFrame:
    generator = np.random.default_rng(len(path.name))
    table = pd.DataFrame(
        {
            "id": [f"c{k}" for k in range(rows)],
            "visits": generator.normal(size=rows).astype("float32"),
            "age": generator.normal(size=rows).astype("float32"),
        }
    )
    pq.write_table(pa.Table.from_pandas(table), path, row_group_size=group)
    return table


def test_every_row_gets_its_segment_and_treatment(tmp_path: Path) -> None:
    table = write(tmp_path / "people.parquet")
    output = tmp_path / "out.parquet"
    done = assign_file(SERVED, tmp_path / "people.parquet", output, 0.1, keep=["id"])
    found = pd.read_parquet(output)
    features = torch.tensor(table[["age", "visits"]].to_numpy().copy())
    assert found.row.tolist() == list(range(1_000))
    assert found.id.tolist() == table.id.tolist()
    assert found.segment.tolist() == (SERVED.segment(features) + 1).tolist()
    assert found.treatment.tolist() == SERVED.treatment(features, 0.1).tolist()
    assert found.treatment_name.astype(str).tolist() == [
        SERVED.treatment_names[j] for j in found.treatment
    ]
    assert done.budget == pytest.approx(0.1)
    assert sum(done.segments) == sum(done.treatments.values()) == 1_000
    assert done.treatments["none"] == int((found.treatment == 0).sum())


@pytest.mark.parametrize("kept", [[[1, 2]] * 50, [{"a": 1}] * 50, [b"\xff"] * 50])
def test_columns_that_a_text_file_cannot_hold(tmp_path: Path, kept: list[object]) -> None:
    table = pa.Table.from_pandas(write(tmp_path / "people.parquet", 50))
    path = tmp_path / "more.parquet"
    pq.write_table(table.append_column("kept", pa.array(kept)), path)
    with pytest.raises(DataError, match=r"kept columns \['kept'\] cannot be written"):
        assign_file(SERVED, path, tmp_path / "out.csv", 0.1, keep=["kept"])
    assert not (tmp_path / "out.csv").exists()
    assign_file(SERVED, path, tmp_path / "out.parquet", 0.1, keep=["kept"])
    assert pq.read_table(tmp_path / "out.parquet")["kept"].to_pylist() == kept


def test_a_folder_is_one_table(tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    first, second = (write(tmp_path / "days" / name, 400) for name in ("a.parquet", "bb.parquet"))
    done = assign_file(SERVED, tmp_path / "days", tmp_path / "out.csv", 0.0, keep=["id"])
    found = pd.read_csv(tmp_path / "out.csv")
    assert found.id.tolist() == [*first.id, *second.id]
    assert done.treatments == {"none": 800, "5 %": 0, "10 %": 0}
    with pytest.raises(InvalidValueError, match=r"out.parquet would be read as customers at the"):
        assign_file(SERVED, tmp_path / "days", tmp_path / "days" / "out.parquet", 0.0)


def test_a_csv_file_is_served_as_a_parquet_file(tmp_path: Path) -> None:
    table = write(tmp_path / "people.parquet").assign(id=lambda one: one.index.map("{:04}".format))
    table.to_csv(tmp_path / "people.csv", index=False)
    for name in ("people.parquet", "people.csv"):
        assign_file(SERVED, tmp_path / name, tmp_path / f"of-{name}", 0.1, keep=["id", "age"])
    one, other = pd.read_parquet(tmp_path / "of-people.parquet"), tmp_path / "of-people.csv"
    served = pd.read_csv(other, dtype={"id": str})
    assert served.id.tolist() == table.id.tolist()
    columns = ["row", "age", "segment", "treatment"]
    pd.testing.assert_frame_equal(served[columns], one[columns], check_dtype=False)
    with pytest.raises(InvalidValueError, match="another file than the customers"):
        assign_file(SERVED, tmp_path / "people.csv", tmp_path / "people.csv", 0.1, overwrite=True)
    with pytest.raises(DataError, match="must have the columns"):
        assign_file(SERVED, tmp_path / "people.csv", tmp_path / "x.csv", 0.1, keep=["name"])


def test_what_cannot_be_served_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    people, output = tmp_path / "people.parquet", tmp_path / "out.parquet"
    table = write(people)
    with pytest.raises(InvalidValueError, match="at least the plan's smallest"):
        assign_file(SERVED, people, output, -1.0)
    with pytest.raises(InvalidValueError, match="another file than the customers"):
        assign_file(SERVED, people, people, 0.1, overwrite=True)
    with pytest.raises(InvalidValueError, match="keep must not name a column that is written"):
        assign_file(SERVED, people, output, 0.1, keep=["segment"])
    with pytest.raises(DataError, match="must have the columns"):
        assign_file(SERVED, people, output, 0.1, keep=["name"])
    with pytest.raises(DataNotFoundError, match="no Parquet file at"):
        assign_file(SERVED, tmp_path / "nobody.parquet", output, 0.1)
    bare = ServedSegments(TREE, plan(), SERVED.treatment_names)
    with pytest.raises(InvalidValueError, match="these segments have no encoder"):
        assign_file(bare, people, output, 0.1)
    table.loc[700, "age"] = np.nan
    pq.write_table(pa.Table.from_pandas(table), people, row_group_size=300)
    with pytest.raises(DataError, match="rows 0 to 999: column 'age' must have no missing value"):
        assign_file(SERVED, people, output, 0.1)
    assert [one.name for one in tmp_path.iterdir()] == ["people.parquet"]
    output.write_text("mine")
    with pytest.raises(InvalidValueError, match="exists already"):
        assign_file(SERVED, people, output, 0.1)
