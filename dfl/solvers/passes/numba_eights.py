"""The best treatments of eight people at a time, on vectors.

Eight rows of amounts are loaded and turned round, so that one vector holds one treatment of eight
people. `sift_eight` compares their best treatments at two prices; `weigh_eight` settles whose best
one leads by more than rounding at one price; `match_eight` holds a tournament. Nothing of this is
left to the compiler's vectorising, which takes many times as long.
"""

# mypy: disable-error-code="untyped-decorator,misc,import-untyped,no-untyped-call,call-arg"

from functools import cache, reduce
from typing import Any, final

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

__all__ = [
    "LANES",
    "MOST_ARMS",
    "copy_row",
    "lowest",
    "match_eight",
    "out_of_reach",
    "sift_eight",
    "weigh_eight",
]

LANES = 8  # people at a time, and numbers in a vector
MOST_ARMS = 64  # beyond, what is compiled grows long, and nothing is loaded
_LANE_BYTES = 16  # shuffles within these are quick
_AHEAD, _CACHE_LINE = 4096, 64  # bytes; memory is asked for what comes then
_INDEX, _PLACE, _BYTE = ir.IntType(64), ir.IntType(32), ir.IntType(8).as_pointer()
# Turning 2 x 2 numbers round in each half or quarter of a vector, and 4 x 4 by two such steps.
_PAIRS = [0, 8, 2, 10, 4, 12, 6, 14], [1, 9, 3, 11, 5, 13, 7, 15]
_NEIGHBOURS = [0, 8, 1, 9, 4, 12, 5, 13], [2, 10, 3, 11, 6, 14, 7, 15]
_HALVES = [0, 1, 8, 9, 4, 5, 12, 13], [2, 3, 10, 11, 6, 7, 14, 15]
Array = npt.NDArray[Any]


@cache
def out_of_reach(m: int, dtype: Any) -> int:
    """Return for how many of the last rows not all that is loaded lies in the arrays."""
    per = _LANE_BYTES // np.dtype(dtype).itemsize
    return int(-(-m // per) * per - 1) // m


@final
class _Vectors:
    """Vectors of eight numbers, and the instructions made of them."""

    def __init__(self, context: Any, builder: Any, dtype: Any) -> None:
        self.number = context.get_data_type(dtype)
        self.bytes = context.get_abi_sizeof(self.number)
        self.kind = ir.VectorType(self.number, LANES)
        self.whole = ir.VectorType(ir.IntType(8 * self.bytes), LANES)
        self.builder = builder

    def constant(self, value: float) -> Any:
        return ir.Constant(self.kind, [value] * LANES)

    def pick(self, one: Any, other: Any, places: list[int]) -> Any:
        """Pick lanes of two vectors laid end to end."""
        mask = ir.Constant(ir.VectorType(_PLACE, len(places)), places)
        return self.builder.shuffle_vector(one, other, mask)

    def whole_constant(self, value: int) -> Any:
        return ir.Constant(self.whole, [value] * LANES)

    def spread(self, number: Any) -> Any:
        """Write one number into every lane."""
        empty = ir.Constant(self.kind, ir.Undefined)
        first = self.builder.insert_element(empty, number, _PLACE(0))
        return self.pick(first, first, [0] * LANES)

    def multiply_add(self, one: Any, other: Any, more: Any) -> Any:
        product = self.builder.fmul(one, other, flags=("contract",))
        return self.builder.fadd(product, more, flags=("contract",))

    def minus_product(self, number: Any, one: Any, other: Any) -> Any:
        """Return ``number - one * other``, rounded once."""
        kind, name = ir.FunctionType(self.kind, [self.kind] * 3), f"v{LANES}f{8 * self.bytes}"
        rounded_once = self.builder.module.declare_intrinsic(f"llvm.fma.{name}", fnty=kind)
        return self.builder.call(rounded_once, [self.builder.fneg(one), other, number])

    def absolute(self, one: Any) -> Any:
        unsigned = self.whole_constant((1 << (8 * self.bytes - 1)) - 1)
        bits = self.builder.bitcast(one, self.whole)
        return self.builder.bitcast(self.builder.and_(bits, unsigned), self.kind)

    def greater(self, one: Any, other: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", one, other), one, other)

    def greatest(self, many: list[Any]) -> Any:
        return reduce(self.greater, many)

    def chosen(self, masks: list[Any], values: list[Any]) -> Any:
        """Return the last value whose mask is set, else the first one."""
        found = values[0]
        for mask, value in zip(masks[1:], values[1:], strict=True):
            found = self.builder.select(mask, value, found)
        return found

    def bits(self, whole: Any) -> Any:
        """Return a word with a bit for every lane that is not 0."""
        some = self.builder.icmp_signed("!=", whole, self.whole_constant(0))
        return self.builder.zext(self.builder.bitcast(some, ir.IntType(LANES)), _INDEX)

    def columns(self, data: Any, first: Any, m: int) -> list[Any]:
        """Load eight rows of ``m`` numbers; return a vector for each number of a row."""
        self._look_ahead(data, first, m)
        per, columns = _LANE_BYTES // self.bytes, []
        for start in range(0, m, per):
            parts = [
                self._load([self._at(data, first, row * m + start) for row in range(k, LANES, per)])
                for k in range(per)
            ]
            if per == len(_PAIRS):
                columns += [self.pick(*parts, places) for places in _PAIRS]
                continue
            steps = [self.pick(*parts[k : k + 2], way) for k in (0, 2) for way in _NEIGHBOURS]
            columns += [self.pick(*steps[k::2], places) for k in (0, 1) for places in _HALVES]
        return columns[:m]

    def rows(self, context: Any, kinds: Any, values: Any, first: Any, m: int) -> list[Any]:
        """Load revenue and cost of eight rows; return both for each treatment."""
        data = (
            context.make_array(kind)(context, self.builder, value).data
            for kind, value in zip(kinds, values, strict=True)
        )
        return list(zip(*(self.columns(one, first, m) for one in data), strict=True))

    def write(self, context: Any, which: Any, kind: Any, value: Any, at: Any) -> None:
        """Write whole numbers into neighbours of an array of eight bytes each."""
        written = ir.VectorType(context.get_data_type(kind.dtype), LANES)
        if which.type != written:  # `zext` would be moved up into all that made them
            between = [lane for k in range(LANES) for lane in (k, k + LANES)]
            which = self.builder.bitcast(self.pick(which, self.whole_constant(0), between), written)
        place = self.builder.gep(context.make_array(kind)(context, self.builder, value).data, [at])
        place = self.builder.bitcast(place, written.as_pointer())
        self.builder.store(which, place, align=1)

    def _load(self, places: list[Any]) -> Any:
        """Load a vector in equal parts from several places."""
        part = ir.VectorType(self.number, LANES // len(places)).as_pointer()
        cast = self.builder.bitcast
        parts = [self.builder.load(cast(place, part), align=self.bytes) for place in places]
        while len(parts) > 1:
            lanes = list(range(2 * parts[0].type.count))
            pairs = zip(parts[::2], parts[1::2], strict=True)
            parts = [self.pick(*pair, lanes) for pair in pairs]
        return parts[0]

    def _look_ahead(self, data: Any, first: Any, m: int) -> None:
        kind = ir.FunctionType(ir.VoidType(), [_BYTE, *[_PLACE] * 3])
        fetch = self.builder.module.declare_intrinsic("llvm.prefetch.p0", fnty=kind)
        for line in range(-(-LANES * m * self.bytes // _CACHE_LINE)):
            place = self._at(data, first, (_AHEAD + _CACHE_LINE * line) // self.bytes)
            place = self.builder.bitcast(place, _BYTE)
            self.builder.call(fetch, [place, _PLACE(0), _PLACE(3), _PLACE(1)])

    def _at(self, data: Any, first: Any, more: int) -> Any:
        return self.builder.gep(data, [self.builder.add(first, _INDEX(more))])


@intrinsic
def sift_eight(
    _: Any, revenue: Any, cost: Any, arms: Any, first: Any, low: Any, high: Any, choice: Any,
    at: Any, totals: Any,
) -> Any:  # fmt: skip
    """Compare the best treatments of eight people at two prices.

    Scores are rounded once, so that of two that differ the larger one truly is. Costs and revenues
    of those with the same best treatment at both prices are added up.

    Args:
        revenue: flat.
        cost: of the same kind.
        arms: as many as there are treatments, up to `MOST_ARMS`.
        first: where the first row begins.
        low: lower price, >= 0, of the same kind.
        high: higher price.
        choice: best treatments at ``high``, written here. Whole numbers of eight bytes.
        at: the first of them.
        totals: sixteen numbers, to which costs are added in the first eight, revenues in the
            others.

    Returns:
        A bit for each of the eight whose best is tied at a price; above them, one for each who
        moves from one treatment to another.
    """

    def build(context: Any, builder: Any, _: Any, given: Any) -> Any:
        make = _Vectors(context, builder, revenue.dtype)
        rows = make.rows(context, (revenue, cost), given[:2], given[3], arms.count)
        tied, bests = make.whole_constant(0), []
        for price in map(make.spread, given[4:6]):
            scores = [make.minus_product(earned, spent, price) for earned, spent in rows]
            masks, others = _not_below(make, scores, make.greatest(scores))
            tied = builder.or_(tied, others)
            bests.append(masks)
        moves = make.whole_constant(0)
        for one, other in zip(*bests, strict=True):
            differ = builder.sext(builder.xor(one, other), make.whole)
            moves = builder.or_(moves, differ)

        make.write(context, _positions(make, bests[1]), choice, given[6], given[7])
        kept = builder.icmp_signed("==", builder.or_(tied, moves), make.whole_constant(0))
        for k, amounts in enumerate(zip(*rows, strict=True)):
            amount = builder.select(kept, make.chosen(bests[1], list(amounts)), make.constant(0))
            data = context.make_array(totals)(context, builder, given[8]).data
            _add(make, builder.gep(data, [_INDEX((1 - k) * LANES)]), amount)
        return builder.or_(make.bits(tied), builder.shl(make.bits(moves), _INDEX(LANES)))

    number, place = revenue.dtype, types.uint64
    return types.uint64(revenue, cost, arms, place, number, number, choice, place, totals), build


@intrinsic
def weigh_eight(
    _: Any, revenue: Any, cost: Any, arms: Any, first: Any, price: Any, sized: Any, unit: Any,
    choice: Any, at: Any,
) -> Any:  # fmt: skip
    """Choose the treatments of eight people that score best, and tell whose leads are not certain.

    Args:
        revenue: flat.
        cost: of the same kind.
        arms: as many as there are treatments, up to `MOST_ARMS`.
        first: where the first row begins.
        price: of money, >= 0, of the same kind.
        sized: price at which amounts are measured, not below the other.
        unit: what counts as rounding, relative to an amount and at least; and up to which amount.
        choice: treatments, written here. Whole numbers of eight bytes.
        at: the first of them.

    Returns:
        A bit for each of the eight whose best treatment does not lead by more than rounding.
    """

    def build(context: Any, builder: Any, _: Any, given: Any) -> Any:
        make = _Vectors(context, builder, revenue.dtype)
        rows = make.rows(context, (revenue, cost), given[:2], given[3], arms.count)
        price, sized = map(make.spread, given[4:6])
        eps, tiny, most = (make.spread(builder.extract_value(given[6], k)) for k in range(3))
        sizes = (
            make.multiply_add(make.absolute(spent), sized, make.absolute(earned))
            for earned, spent in rows
        )
        size = reduce(make.greater, sizes, make.constant(0))
        small = builder.fcmp_ordered("<", size, most)
        margin = builder.select(small, make.multiply_add(eps, size, tiny), make.constant(np.inf))
        scores = [make.minus_product(earned, spent, price) for earned, spent in rows]
        bar = builder.fsub(make.greatest(scores), margin)
        masks, others = _not_below(make, scores, bar)
        make.write(context, _positions(make, masks), choice, given[7], given[8])
        return make.bits(others)

    number, place = revenue.dtype, types.uint64
    given = (revenue, cost, arms, place, number, number, unit, choice, place)
    return types.uint64(*given), build


def _not_below(make: _Vectors, scores: list[Any], bar: Any) -> tuple[list[Any], Any]:
    """Return which scores are not below the bar, and a number, 0 for people with one of them."""
    masks = [make.builder.fcmp_unordered(">=", score, bar) for score in scores]
    others = make.whole_constant(1)
    for mask in masks:
        others = make.builder.add(others, make.builder.sext(mask, make.whole))
    return masks, others


def _positions(make: _Vectors, masks: list[Any]) -> Any:
    """Return the treatments of eight people whose masks are set."""
    return make.chosen(masks, [make.whole_constant(j) for j in range(len(masks))])


def _add(make: _Vectors, place: Any, amount: Any) -> None:
    """Add a vector to eight numbers in float64."""
    wide = ir.VectorType(ir.DoubleType(), LANES)
    place = make.builder.bitcast(place, wide.as_pointer())
    if amount.type != wide:
        amount = make.builder.fpext(amount, wide)
    total = make.builder.fadd(make.builder.load(place, align=8), amount)
    make.builder.store(total, place, align=8)


@intrinsic
def match_eight(
    _: Any, revenue: Any, cost: Any, arms: Any, first: Any, price: Any, choice: Any, at: Any
) -> Any:
    """Choose the winners of eight people's tournaments; see `tournament` of torch.

    Args:
        revenue: flat.
        cost: of the same kind.
        arms: as many as there are treatments, up to `MOST_ARMS`.
        first: where the first row begins.
        price: of money.
        choice: treatments, written here. Whole numbers of eight bytes.
        at: the first of them.
    """

    def build(context: Any, builder: Any, _: Any, given: Any) -> Any:
        make = _Vectors(context, builder, revenue.dtype)
        rows = make.rows(context, (revenue, cost), given[:2], given[3], arms.count)
        price, none = make.spread(given[4]), make.constant(0)
        which, (earned, spent) = make.whole_constant(0), rows[0]
        for j, (this_earned, this_spent) in enumerate(rows[1:], start=1):
            more = builder.fsub(this_earned, earned)
            dearer = builder.fsub(this_spent, spent)
            slope = builder.fdiv(more, dearer)
            wins = builder.select(
                builder.fcmp_ordered(">", dearer, none),
                builder.fcmp_ordered(">", slope, price),
                builder.fcmp_ordered("<=", slope, price),
            )
            alike = builder.fcmp_ordered("==", dearer, none)
            wins = builder.select(alike, builder.fcmp_ordered(">", more, none), wins)
            which = builder.select(wins, make.whole_constant(j), which)
            earned = builder.select(wins, this_earned, earned)
            spent = builder.select(wins, this_spent, spent)
        make.write(context, which, choice, given[5], given[6])
        return context.get_dummy_value()

    number, place = revenue.dtype, types.uint64
    return types.void(revenue, cost, arms, place, number, choice, place), build


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
