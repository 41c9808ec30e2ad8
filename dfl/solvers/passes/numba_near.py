"""Which treatments score within rounding of a person's best: sixteen people at a time, on vectors.

Rows of amounts are loaded as they lie, one of up to sixteen treatments or two of up to eight to a
vector, and scored. The best of sixteen rows come out of a tree of maxima that halves neighbours, in
the rows' order; compared with them, the scores of each row become one whole number, a bit for each
treatment. Nothing of this is left to the compiler's vectorising, which takes many times as long.
"""

# mypy: disable-error-code="untyped-decorator,misc,import-untyped,no-untyped-call,call-arg"

from functools import cache
from typing import Any, final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = ["LANES", "MOST_ARMS", "copy_row", "in_reach", "lowest", "mark_near", "unit_of", "words"]

LANES = 16  # people at a time, and numbers in a vector
MOST_ARMS = 4 * LANES
_AHEAD = 4096  # bytes; memory is asked for what comes then
_INDEX, _PLACE, _BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
Array = npt.NDArray[Any]


def words(m: int, rows: int) -> Array:
    """Return zeros of the kind that `mark_near` writes for up to `MOST_ARMS` treatments."""
    return np.zeros(rows, f"u{_word_bytes(min(m, MOST_ARMS))}")


def in_reach(m: int, rows: int) -> int:
    """Return of how many of so many rows all that `mark_near` loads lies in the arrays."""
    wide = _wide(m)
    return max(rows - (-(-m // wide) * wide - 1) // m, 0) if m <= MOST_ARMS else 0


@cache
def unit_of(dtype: Any, roundings: int) -> tuple[Any, Any, Any]:
    """Return what `mark_near` takes for rounding: relative, absolute; and up to which size."""
    kind = np.finfo(dtype)
    one = np.dtype(dtype).type
    return one(roundings * kind.eps), one(kind.tiny), one(kind.max / 4)


def _wide(m: int) -> int:
    return 8 if m <= 8 else LANES


def _word_bytes(m: int) -> int:
    return 1 << (-(-m // 8) - 1).bit_length()


@final
class _Vectors:
    """Vectors of sixteen numbers, and the instructions made of them."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self.number = context.get_data_type(dtype)
        self.bytes = context.get_abi_sizeof(self.number)
        self.kind = ir.VectorType(self.number, LANES)
        self.builder = builder

    def constant(self, value: float) -> Any:
        return ir.Constant(self.kind, [value] * LANES)

    def pick(self, one: Any, other: Any, places: list[int]) -> Any:
        """Pick lanes of two vectors laid end to end."""
        mask = ir.Constant(ir.VectorType(_PLACE, LANES), places)
        return self.builder.shuffle_vector(one, other, mask)

    def spread(self, number: Any) -> Any:
        """Write one number into every lane."""
        empty = ir.Constant(self.kind, ir.Undefined)
        first = self.builder.insert_element(empty, number, _PLACE(0))
        return self.pick(first, first, [0] * LANES)

    def multiply_add(self, one: Any, other: Any, more: Any) -> Any:
        product = self.builder.fmul(one, other, flags=("contract",))
        return self.builder.fadd(product, more, flags=("contract",))

    def absolute(self, one: Any) -> Any:
        bits = 8 * self.bytes
        whole = ir.VectorType(ir.IntType(bits), LANES)
        unsigned = ir.Constant(whole, [(1 << (bits - 1)) - 1] * LANES)
        return self.builder.bitcast(
            self.builder.and_(self.builder.bitcast(one, whole), unsigned), self.kind
        )

    def greater(self, one: Any, other: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", one, other), one, other)

    def load(self, data: Any, places: list[Any]) -> Any:
        """Load a vector, in equal parts from one place or two, and have memory look ahead."""
        part = ir.VectorType(self.number, LANES // len(places)).as_pointer()
        parts = []
        for place in places:
            at = self.builder.bitcast(self.builder.gep(data, [place]), part)
            parts.append(self.builder.load(at, align=self.bytes))
        later = self.builder.add(places[0], _INDEX(_AHEAD // self.bytes))
        kind = ir.FunctionType(ir.VoidType(), [_BYTE, *[_PLACE] * 3])
        fetch = self.builder.module.declare_intrinsic("llvm.prefetch.p0", fnty=kind)
        ahead = self.builder.bitcast(self.builder.gep(data, [later]), _BYTE)
        self.builder.call(fetch, [ahead, _PLACE(0), _PLACE(3), _PLACE(1)])
        return parts[0] if len(parts) == 1 else self.pick(*parts, list(range(LANES)))


@intrinsic
def mark_near(
    _: Any, revenue: Any, cost: Any, arms: Any, first: Any, low: Any, high: Any, sized: Any,
    unit: Any, at_low: Any, at_high: Any, at: Any,
) -> Any:  # fmt: skip
    """Mark the treatments of sixteen people whose score may be the best, but for rounding.

    Args:
        revenue: flat.
        cost: of the same kind.
        arms: as many as there are treatments, up to `MOST_ARMS`.
        first: where the first row begins.
        low: a price of money, >= 0.
        high: another, not smaller.
        sized: price at which amounts are measured, not below the others.
        unit: of `unit_of`. The largest amount of the sixteen rows counts for all of them, and
            where it is too large, all their treatments are marked.
        at_low: `words`, one a row, written here.
        at_high: likewise.
        at: the first of them.
    """

    def build(context: Any, builder: Any, _: Any, given: Any) -> Any:
        make, m, wide = _Vectors(context, builder, revenue.dtype), arms.count, _wide(arms.count)
        data = [
            context.make_array(kind)(context, builder, one).data
            for kind, one in ((revenue, given[0]), (cost, given[1]))
        ]
        *paid, most_paid = (make.spread(price) for price in given[4:7])
        per = LANES // wide
        eps, tiny, most = (make.spread(builder.extract_value(given[7], k)) for k in range(3))
        size = make.constant(0)
        scores: Any = ([], [])  # by price, by vector, then by block of treatments
        for vector in range(wide):
            blocks: Any = ([], [])
            for start in range(0, m, wide):
                rows = range(vector * per, (vector + 1) * per)
                places = [builder.add(given[3], _INDEX(row * m + start)) for row in rows]
                earned, spent = (make.load(one, places) for one in data)
                one = make.multiply_add(make.absolute(spent), most_paid, make.absolute(earned))
                size = make.greater(one, size)  # neighbours' amounts count too
                ours = [int(lane % wide < m - start) for lane in range(LANES)]
                shown = ir.Constant(ir.VectorType(ir.IntType(1), LANES), ours)
                for price, block in zip(paid, blocks, strict=True):
                    score = make.multiply_add(builder.fneg(spent), price, earned)
                    block.append(builder.select(shown, score, make.constant(-np.inf)))
            for block, vectors in zip(blocks, scores, strict=True):
                vectors.append(block)
        for turn in (8, 4, 2, 1):
            turned = [(lane + turn) % LANES for lane in range(LANES)]
            size = make.greater(size, make.pick(size, size, turned))
        small = builder.fcmp_ordered("<", size, most)
        margin = builder.select(small, make.multiply_add(eps, size, tiny), make.constant(np.inf))
        for vectors, kind, one in zip(scores, (at_low, at_high), given[8:10], strict=True):
            target = context.make_array(kind)(context, builder, one).data
            _write(make, vectors, margin, m, builder.gep(target, [given[10]]))
        return context.get_dummy_value()

    prices = (low, high, sized)
    given = (revenue, cost, arms, types.uint64, *prices, unit, at_low, at_high, types.uint64)
    return types.void(*given), build


def _write(make: _Vectors, scores: Any, margin: Any, m: int, target: Any) -> None:
    """Write the words of sixteen rows: which scores, by vector and block, are within a margin."""
    builder, per = make.builder, LANES // len(scores)
    best = []
    for blocks in scores:
        best.append(blocks[0])
        for block in blocks[1:]:
            best[-1] = make.greater(block, best[-1])
    even, odd = list(range(0, 2 * LANES, 2)), list(range(1, 2 * LANES, 2))
    while len(best) > 1:
        pairs = zip(best[::2], best[1::2], strict=True)
        best = [make.greater(make.pick(*two, even), make.pick(*two, odd)) for two in pairs]
    bar = builder.fsub(best[0], margin)
    target = builder.bitcast(target, _BYTE)
    for vector, blocks in enumerate(scores):
        row = vector * per
        here = make.pick(bar, bar, [row + lane // len(scores) for lane in range(LANES)])
        for block, score in enumerate(blocks):
            bits = builder.bitcast(builder.fcmp_unordered(">=", score, here), ir.IntType(LANES))
            place = builder.gep(target, [_INDEX(row * _word_bytes(m) + 2 * block)])
            builder.store(bits, builder.bitcast(place, bits.type.as_pointer()), align=1)


@intrinsic
def lowest(_: Any, word: Any) -> Any:
    """Return the lowest bit that is set in a word, not 0."""

    def build(context: Any, builder: Any, __: Any, given: Any) -> Any:
        zeros = builder.cttz(given[0], ir.IntType(1)(1))
        return context.cast(builder, zeros, word, types.uint64)

    return types.uint64(word), build


@intrinsic
def copy_row(_: Any, source: Any, at: Any, target: Any, to: Any, arms: Any) -> Any:
    """Copy neighbours at one go, as many as ``arms``, from one flat array to another."""

    def build(context: Any, builder: Any, __: Any, given: Any) -> Any:
        size = context.get_abi_sizeof(context.get_data_type(source.dtype))
        ends = [
            builder.gep(context.make_array(kind)(context, builder, one).data, [place])
            for kind, one, place in ((target, given[2], given[3]), (source, *given[:2]))
        ]
        cgutils.raw_memcpy(builder, *ends, _INDEX(arms.count), size)
        return context.get_dummy_value()

    return types.void(source, types.uint64, target, types.uint64, arms), build
