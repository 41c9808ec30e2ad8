from pathlib import Path

import pytest

from dfl.data.sources.files import find_file
from dfl.errors import DataNotFoundError


def test_a_path_is_taken_as_it_stands(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.touch()
    assert find_file(str(file)) == file


def test_a_relative_path_is_also_looked_for_in_the_data_folder(data_folder: Path) -> None:
    (data_folder / "sub").mkdir()
    (data_folder / "sub" / "mine.csv").touch()
    assert find_file("sub/mine.csv") == data_folder / "sub" / "mine.csv"


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
