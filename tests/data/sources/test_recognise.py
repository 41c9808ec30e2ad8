from pathlib import Path

import pandas as pd
import pytest

from dfl.data import Hillstrom, recognise
from dfl.errors import ConfigError, DataError, DataNotFoundError


def test_a_published_data_set_is_known_by_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "renamed.csv"
    pd.DataFrame(columns=[*Hillstrom.card.columns, "more"]).to_csv(path, index=False)
    assert recognise(str(path)) == "hillstrom"


def test_any_other_file_needs_roles(tmp_path: Path) -> None:
    path = tmp_path / "shop.parquet"
    pd.DataFrame({"age": [1.0], "arm": [0]}).to_parquet(path)
    with pytest.raises(
        ConfigError, match=r"say which column is the .*data.treatment.*'age', 'arm'"
    ):
        recognise(str(path))


def test_files_that_are_missing_or_broken(tmp_path: Path) -> None:
    with pytest.raises(DataNotFoundError, match="no data file"):
        recognise(str(tmp_path / "shop.parquet"))
    (tmp_path / "shop.parquet").write_bytes(b"PAR1 cut off")
    with pytest.raises(DataError, match="cannot be read"):
        recognise(str(tmp_path / "shop.parquet"))
