import gzip
from pathlib import Path

import pandas as pd
import pytest

from dfl.data.sources.reading import column_names, find_file, read_frame, read_twofold
from dfl.errors import DataError, DataNotFoundError
from tests.data.conftest import write

TABLE = pd.DataFrame({"a": range(300), "b": [0.25] * 300, "c": ["x", "y", "z"] * 100})
FORMATS = ("t.parquet", "t.csv", "t.csv.gz", "t.tsv", "t.tsv.gz")


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = write(TABLE, tmp_path / name)
    assert column_names(path) == ("a", "b", "c")
    table = read_frame(path, columns=("c", "a"))
    assert set(table.names) == {"a", "c"}
    assert table.column("a").numbers().tolist() == TABLE["a"].tolist()
    assert table.column("c").values.to_pylist() == TABLE["c"].tolist()


def test_files_are_read_one_after_the_other(tmp_path: Path) -> None:
    first, second = write(TABLE, tmp_path / "1.csv"), write(TABLE[:5], tmp_path / "2.csv")
    table = read_frame(first, second)
    assert len(table) == 305
    assert table.column("a").numbers().tolist() == [*range(300), *range(5)]


@pytest.mark.parametrize("first", [2**63, 20240101000000000000, 10**75, 10**90])
def test_whole_numbers_of_any_size_stay_apart(tmp_path: Path, first: int) -> None:
    ids = [str(first + place) for place in range(50)]
    path = write(pd.DataFrame({"id": [*ids, "NaN"], "a": 1e30}), tmp_path / "t.csv")
    table = read_frame(path)
    factor = table.column("id").factor()
    assert {*factor.labels} - {"NaN"} == {*ids}
    assert table.column("a").numbers().tolist() == [1e30] * 51


def test_floats_of_any_size_stay_floats(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b,c\n1e30,9223372036854775808,inf\n2,0.5,1\n")
    table = read_frame(path)
    assert table.column("a").numbers().tolist() == [1e30, 2.0]
    assert table.column("b").numbers().tolist() == [2.0**63, 0.5]
    assert table.column("c").numbers().tolist() == [float("inf"), 1.0]


@pytest.mark.parametrize("name", FORMATS)
def test_a_column_can_be_read_as_a_number_and_as_the_text_that_it_is(
    tmp_path: Path, name: str
) -> None:
    table = TABLE[:2].assign(zip=["0501", "0602"], shop=["01", "02"])
    path = write(table, tmp_path / name)
    frame, words = read_twofold(path, ("a", "zip", "shop"), ("shop", "c"), text=("zip",))
    assert frame.column("zip").values.to_pylist() == ["0501", "0602"]
    assert words.column("shop").values.to_pylist() == ["01", "02"]
    assert words.column("c").values.to_pylist() == ["x", "y"]
    if "parquet" not in name:
        assert frame.column("shop").numbers().tolist() == [1, 2]


@pytest.mark.parametrize("name", ["t.parquet", "t.csv.gz"])
@pytest.mark.parametrize("keep", [0, 40, 0.7])
def test_a_truncated_file_is_reported(tmp_path: Path, name: str, keep: float) -> None:
    path = write(TABLE, tmp_path / name)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    with pytest.raises(DataError, match=f"{name} cannot be read .*truncated"):
        read_frame(path)


@pytest.mark.parametrize("name", FORMATS)
def test_another_kind_of_file_is_reported(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\xff\xfe\x00\x9d nothing of the kind \x00\x00")
    with pytest.raises(DataError, match="cannot be read"):
        read_frame(path)


def test_a_row_with_too_many_fields_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2\n3,4,5\n")
    with pytest.raises(DataError, match="cannot be read"):
        read_frame(path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    path = write(TABLE, tmp_path / "t.parquet")
    with pytest.raises(DataError, match=r"must have the columns \['d'\], it has \['a', 'b', 'c'\]"):
        read_frame(path, columns=("a", "d"))


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    path = write(TABLE[:0], tmp_path / "t.parquet")
    with pytest.raises(DataError, match="at least one row"):
        read_frame(path)


def test_other_endings_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.xlsx"
    path.write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match=r"must end in one of .parquet, .csv"):
        column_names(path)


def test_a_path_is_taken_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.touch()
    assert find_file(str(file)) == file


def test_a_relative_path_is_also_looked_for_in_the_data_folder(data_folder: Path) -> None:
    (data_folder / "sub").mkdir()
    (data_folder / "sub" / "mine.csv").touch()
    assert find_file("sub/mine.csv") == data_folder / "sub" / "mine.csv"


@pytest.mark.parametrize("name", ["~nobody-here/t.csv", "x" * 300 + ".csv", "a\0b.csv", ".", ""])
def test_a_path_that_can_be_no_file_is_not_found(data_folder: Path, name: str) -> None:
    assert data_folder.is_dir()
    with pytest.raises(DataNotFoundError, match="no data file"):
        find_file(name)


def test_the_first_usual_name_wins(data_folder: Path) -> None:
    (data_folder / "second.csv").touch()
    assert find_file(None, ("first.csv", "second.csv")).name == "second.csv"
    (data_folder / "first.csv").touch()
    assert find_file(None, ("first.csv", "second.csv")).name == "first.csv"


def test_a_folder_is_searched_for_the_usual_names(tmp_path: Path) -> None:
    (tmp_path / "train.csv").touch()
    assert find_file(tmp_path, ("train.csv",)) == tmp_path / "train.csv"


def test_a_missing_file_says_where_it_was_looked_for(data_folder: Path) -> None:
    with pytest.raises(DataNotFoundError) as caught:
        find_file("lost.csv", where="the archive")
    assert "lost.csv, " + str(data_folder / "lost.csv") in str(caught.value)
    assert "Get it from the archive." in str(caught.value)
    assert isinstance(caught.value, FileNotFoundError)


@pytest.mark.usefixtures("no_data_folder")
def test_without_a_data_folder_the_error_says_so() -> None:
    with pytest.raises(DataNotFoundError, match=r"a.csv or b.csv. DFL_DATA, .*, is not set"):
        find_file(None, ("a.csv", "b.csv"))


def test_text_that_is_not_utf8_or_is_separated_otherwise_is_named(tmp_path: Path) -> None:
    latin, semicolons = tmp_path / "latin.csv", tmp_path / "semicolons.csv"
    latin.write_bytes("city,x\nKöln,1\nRom,2\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"must be text in UTF-8, its columns \['city'\] are not"):
        read_frame(latin)
    assert len(read_frame(latin, columns=["x"])) == 2
    semicolons.write_text("arm;spend\n1;2,5\n")
    with pytest.raises(DataError, match="UTF-8 with commas between columns"):
        read_frame(semicolons)
