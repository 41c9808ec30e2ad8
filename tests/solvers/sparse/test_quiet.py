"""Native code's lines kept out of standard output."""

import os

import pytest

from dfl.solvers.sparse.quiet import unprinted

Captured = pytest.CaptureFixture[str]


def test_what_is_printed_beneath_python_goes_to_standard_error(capfd: Captured) -> None:
    print("before")
    with unprinted():
        with unprinted():  # as another thread may
            os.write(1, b"inner\n")
        os.write(1, b"outer\n")
    os.write(1, b"after\n")
    assert capfd.readouterr() == ("before\nafter\n", "inner\nouter\n")


def test_an_error_puts_standard_output_back(capfd: Captured) -> None:
    with pytest.raises(ZeroDivisionError), unprinted():
        _ = 1 / 0
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"


@pytest.mark.parametrize("call", ["dup", "dup2"])
def test_closed_descriptors_are_no_trouble(
    call: str, monkeypatch: pytest.MonkeyPatch, capfd: Captured
) -> None:
    real = getattr(os, call)

    def closed(*descriptors: int) -> int:
        if descriptors in ((1,), (2, 1)):
            raise OSError("closed")
        found: int = real(*descriptors)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(os, call, closed)
        with unprinted():
            os.write(1, b"inside\n")
    assert capfd.readouterr().out == "inside\n"
