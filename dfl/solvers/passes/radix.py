"""Sorting many multipliers downwards: radix on their leading bits, then a short repair."""

# mypy: disable-error-code="untyped-decorator"

from typing import Any

import numpy as np
import numpy.typing as npt

from dfl.scale.cached import cached_njit

__all__ = ["falling_order"]

Array = npt.NDArray[Any]
_compiled = cached_njit(nogil=True)
_DIGIT, _BUCKETS = np.uint32(11), 2048  # three digits of 11 bits cover the 32 leading bits
_U = np.uint64


def falling_order(multiplier: Array) -> Array:
    """Return the stable order that sorts numbers >= 0 downwards.

    The bits of such numbers, read as an integer, sort like the numbers. The 32 leading bits
    in which they differ are sorted digit by digit; numbers that only differ further down are
    neighbours then, and an insertion sort puts them right. Where that would take long (many
    nearly equal numbers), a comparison sort does it all.

    Args:
        multiplier: float64, >= 0, shape ``(S,)``, ``S < 2 ** 32``.

    Returns:
        int64, shape ``(S,)``.
    """
    if not multiplier.shape[0]:
        return np.empty(0, np.int64)
    bits = multiplier.view(np.uint64)
    top = bits.max()
    shift = max(int(top - bits.min()).bit_length() - 32, 0)
    order: Array
    order, key = _radix(bits, top, _U(shift))
    if shift and not _repair(bits, order, key, 4 * order.shape[0]):
        order = np.argsort(top - bits, kind="stable")
    return order.astype(np.int64)


@_compiled
def _radix(bits: Array, top: Any, shift: Any) -> Any:
    """Sort by ``(top - bits) >> shift``, from the last digit to the first: order, sorted keys."""
    size, mask = bits.shape[0], np.uint32(_BUCKETS - 1)
    start = np.zeros((3, _BUCKETS), np.int64)
    for i in range(size):
        key = np.uint32((top - bits[i]) >> shift)
        start[0, key & mask] += 1
        start[1, (key >> _DIGIT) & mask] += 1
        start[2, (key >> _DIGIT) >> _DIGIT] += 1
    for digit in range(3):
        total = 0
        for bucket in range(_BUCKETS):
            here = start[digit, bucket]
            start[digit, bucket] = total
            total += here
    key_a, order_a = np.empty(size, np.uint32), np.empty(size, np.uint32)
    key_b, order_b = np.empty(size, np.uint32), np.empty(size, np.uint32)
    for i in range(size):
        key = np.uint32((top - bits[i]) >> shift)
        place = start[0, key & mask]
        start[0, key & mask] = place + 1
        key_a[place], order_a[place] = key, i
    for i in range(size):
        bucket = (key_a[i] >> _DIGIT) & mask
        place = start[1, bucket]
        start[1, bucket] = place + 1
        key_b[place], order_b[place] = key_a[i], order_a[i]
    for i in range(size):
        bucket = (key_b[i] >> _DIGIT) >> _DIGIT
        place = start[2, bucket]
        start[2, bucket] = place + 1
        key_a[place], order_a[place] = key_b[i], order_b[i]
    return order_a, key_a


@_compiled
def _repair(bits: Array, order: Array, key: Array, moves: int) -> bool:
    """Sort equal keys by insertion, in place; give up after so many moves and return False."""
    for i in range(1, order.shape[0]):
        if key[i] != key[i - 1]:
            continue
        this = order[i]
        place = i
        while place > 0 and key[place - 1] == key[i] and bits[order[place - 1]] < bits[this]:
            order[place] = order[place - 1]
            place -= 1
            moves -= 1
        order[place] = this
        if moves < 0:
            return False
    return True
