"""Arrays of experiments: their types, the checks of what comes in."""

from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from dfl.errors import DTypeError, InvalidValueError, ShapeError

__all__ = [
    "Booleans",
    "Counts",
    "Cube",
    "Integers",
    "Labels",
    "Matrix",
    "Vector",
    "label_values",
    "labels",
    "matrix",
    "not_finite",
    "require_apart",
    "require_numbered",
    "vector",
]

Vector: TypeAlias = NDArray[np.float64]
Matrix: TypeAlias = NDArray[np.float64]
Cube: TypeAlias = NDArray[np.float64]  # three axes
Booleans: TypeAlias = NDArray[np.bool_]
Integers: TypeAlias = NDArray[np.int64]
Counts: TypeAlias = NDArray[np.int16]  # small numbers: how often each row was drawn, its arm
Labels: TypeAlias = NDArray[Any]


def vector(name: str, values: object, rows: int | None = None) -> Vector:
    """Return values as a finite float64 vector.

    Args:
        name: of the argument, for errors.
        values: anything that numpy reads as one-dimensional numbers.
        rows: length it must have, or None for any.

    Raises:
        DTypeError: if the values are no numbers.
        ShapeError: if they are not one-dimensional, or not as many as ``rows``.
        InvalidValueError: if one is NaN, infinite or masked.
    """
    array = _numbers(name, values)
    if array.ndim != 1 or (rows is not None and array.shape[0] != rows):
        wanted = "(n,)" if rows is None else f"({rows},)"
        raise ShapeError(f"{name} must be {wanted}, got {array.shape}.")
    _require_finite(name, array)
    return array


def matrix(name: str, values: object, rows: int) -> Matrix:
    """Return values as a finite float64 matrix; one column may come as a vector.

    Args:
        name: of the argument, for errors.
        values: anything that numpy reads as numbers, shape ``(rows, p)`` or ``(rows,)``.
        rows: number of rows it must have.

    Raises:
        DTypeError: if the values are no numbers.
        ShapeError: if the shape is another one.
        InvalidValueError: if one is NaN, infinite or masked.
    """
    array = _numbers(name, values)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or array.shape[0] != rows or array.shape[1] == 0:
        raise ShapeError(f"{name} must be ({rows}, p) with p >= 1, got {array.shape}.")
    _require_finite(name, array)
    return array


def labels(name: str, values: object, rows: int) -> Labels:
    """Return names or numbers of groups as a vector without missing entries.

    Raises:
        ShapeError: if there are not ``rows`` of them in one dimension.
        InvalidValueError: if one is missing: None, NaN, the NA of pandas or masked; if they are
            of kinds that have no order, such as numbers and names; or floats so large that
            neighbours have run together.
    """
    array = _plain(values)
    if array.shape != (rows,):
        raise ShapeError(f"{name} must be ({rows},), got {array.shape}.")
    if array.dtype.kind == "O":
        missing = np.array([_is_missing(one) for one in array], bool)
    else:
        missing = array != array if array.dtype.kind in "fcmM" else np.zeros(rows, bool)
    if isinstance(values, np.ma.MaskedArray):
        missing |= np.ma.getmaskarray(values)
    if missing.any():
        raise InvalidValueError(
            f"{name} must be known in every row, it is missing in {int(missing.sum())} of {rows}; "
            "leave those rows out of all columns."
        )
    if array.dtype.kind == "O":
        _require_order(name, array)
    if array.dtype.kind == "f":
        require_apart(name, array)
    return array


def require_numbered(name: str, numbers: Integers, most: int) -> None:
    """Refuse groups that are not numbered, such as by their ids.

    Raises:
        InvalidValueError: if one is no whole number from 0 to below ``most``.
    """
    whole = numbers.dtype.kind in "iu"
    if whole and numbers.min() >= 0 and numbers.max() < most:
        return
    wrong = numbers[(numbers < 0) | (numbers >= most)] if whole else numbers
    raise InvalidValueError(
        f"{name} must be whole numbers from 0 to below the {most} rows, got {wrong[0]} "
        f"({numbers.dtype}); numpy.unique({name}, return_inverse=True)[1] numbers them, and "
        "Experiment takes any ids."
    )


def require_apart(name: str, numbers: NDArray[np.floating[Any]]) -> None:
    """Refuse ids that were read as floats and may have run together.

    Raises:
        InvalidValueError: if one is 2**53 or more, of float32 2**24 or more.
    """
    exact = 2.0 ** (np.finfo(numbers.dtype).nmant + 1)
    size = float(np.abs(numbers).max(initial=0))
    if size >= exact:
        raise InvalidValueError(
            f"{name} must not hold floats of {exact:.0f} or more, got {size:.17g}: neighbours have "
            "run together. Read them as whole numbers or as text."
        )


def label_values(found: Labels) -> list[Any]:
    """Return labels as Python's values; dates and times that Python cannot hold as NumPy's."""
    plain: list[Any] = found.tolist()
    whole = found.dtype.kind in "mM" and any(isinstance(one, int) for one in plain)
    return [*found] if whole else plain


def _require_order(name: str, array: Labels) -> None:
    try:
        sorted(set(array.tolist()))
    except TypeError as error:
        kinds = " and ".join(sorted({type(one).__name__ for one in array}))
        raise InvalidValueError(
            f"{name} must hold labels of one kind, numbers, names or dates, got {kinds}; turn "
            "them all into text."
        ) from error


def _is_missing(label: Any) -> bool:
    """Say whether a label is None, is not equal to itself, or cannot be compared: pandas' NA."""
    same = label == label  # NaN is the one number that differs from itself
    return label is None or not isinstance(same, bool | np.bool_) or not same


def _plain(values: object) -> NDArray[Any]:
    """Return an array; tensors without their graph, also of a dtype that NumPy lacks."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = values.float() if values.dtype is torch.bfloat16 else values
    return np.asarray(values)


def _numbers(name: str, values: object) -> NDArray[np.float64]:
    array = _plain(values)
    if array.dtype.kind not in "biuf":
        raise DTypeError(
            f"{name} must hold numbers, got {array.dtype}; turn categories into numbers first."
        )
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        array = np.where(np.ma.getmaskarray(values), np.nan, array)
    return np.ascontiguousarray(array, dtype=np.float64)


def _require_finite(name: str, array: NDArray[np.float64]) -> None:
    # A finite sum proves that every term is finite, and is much quicker than asking each.
    if not np.isfinite(array.sum()) and not np.isfinite(array).all():
        raise not_finite(name, array.size - int(np.isfinite(array).sum()), array.size)


def not_finite(name: str, wrong: int, numbers: int) -> InvalidValueError:
    """Return the error about numbers of which some are NaN or infinite."""
    return InvalidValueError(
        f"{name} must be finite, got {wrong} NaN or infinite of {numbers}; fill in what a "
        "missing value means (no order: 0), or leave those rows out of all columns."
    )
