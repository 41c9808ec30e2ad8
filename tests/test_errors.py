import pickle

import pytest

import dfl.errors as errors
from dfl import DflError

ERRORS = [getattr(errors, name) for name in errors.__all__ if name != "DflError"]

# What a caller who knows nothing of dfl would catch.
BUILTIN = {
    "ConfigError": ValueError,
    "DTypeError": TypeError,
    "DataError": ValueError,
    "DataNotFoundError": FileNotFoundError,
    "DuplicateNameError": ValueError,
    "InfeasibleBudgetError": ValueError,
    "InfeasibleProblemError": ValueError,
    "InvalidValueError": ValueError,
    "MissingExtraError": ImportError,
    "NotConvergedError": RuntimeError,
    "ProcessError": RuntimeError,
    "RunFolderError": FileExistsError,
    "SampleRatioError": ValueError,
    "ShapeError": ValueError,
    "UnknownNameError": LookupError,
    "UnsupportedProblemError": ValueError,
    "WriteError": OSError,
}


def test_every_error_of_the_module_is_exported_and_expected_here() -> None:
    defined = {
        name
        for name, member in vars(errors).items()
        if isinstance(member, type) and issubclass(member, Exception)
    }
    assert defined == set(errors.__all__)
    assert defined - {"DflError"} == set(BUILTIN)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_error_is_caught_as_dfl_error_and_as_its_built_in(error: type[DflError]) -> None:
    with pytest.raises(DflError, match=r"^cost must be >= 0\.$"):
        raise error("cost must be >= 0.")
    with pytest.raises(BUILTIN[error.__name__], match=r"^cost must be >= 0\.$"):
        raise error("cost must be >= 0.")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_an_error_survives_the_way_from_a_worker_process(error: type[DflError]) -> None:
    copy = pickle.loads(pickle.dumps(error("seed 3 failed.")))
    assert type(copy) is error
    assert str(copy) == "seed 3 failed."


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.__name__)
def test_a_message_reads_as_written(error: type[DflError]) -> None:
    # KeyError, for one, would print its message in quotes.
    assert str(error("unknown solver 'x'. Known: y.")) == "unknown solver 'x'. Known: y."
