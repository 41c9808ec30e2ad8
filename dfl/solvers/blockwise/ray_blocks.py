"""`RayBlocks`: every pass over the blocks is shared by the workers of a Ray cluster."""

import logging
import os
import pickle
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, final

from torch import Tensor

from dfl.checks import check_count
from dfl.errors import DflError, InvalidValueError, MissingExtraError, UnsupportedProblemError
from dfl.scale import rank_of
from dfl.solvers.blockwise.blocks import AbstractBlocks, Arrays

__all__ = ["RayBlocks", "on_cluster"]

_TRIES = 4  # workers that may die of one block


@final
@dataclass(frozen=True, eq=False)
class RayBlocks(AbstractBlocks):
    """Blocks that Ray Data hands to workers, one per processor, in every pass of `solve_blocks`.

    A worker reads a block itself and sends back what the pass makes of it: a sketch, the people
    who are open, or how many got which treatment; scores of all people never travel. Blocks
    come back in their order, so the answer is that of one process to the last bit. The block of
    a worker that died is given to another, up to three times.

    The cluster is the one that this process is connected to, or that of `on_cluster`.

    Args:
        blocks: the people. Can be pickled, and read on every machine of the cluster.
        memory: bytes that each worker is to have; Ray starts no more workers on a machine than
            that allows. A worker of a million people and five treatments takes half the default.

    Raises:
        InvalidValueError: if ``memory`` is below 1.
    """

    blocks: AbstractBlocks
    memory: int = 1 << 30

    def __post_init__(self) -> None:
        """Check the memory."""
        check_count("memory", self.memory, at_least=1)

    @property
    def sizes(self) -> Sequence[int]:
        """Number of people of each block."""
        return self.blocks.sizes

    def scores(self, block: int) -> tuple[Tensor, Tensor]:
        """Return revenue and cost of a block's people."""
        return self.blocks.scores(block)

    def once(self, name: str, block: int, make: Callable[[], Arrays]) -> Arrays:
        """Return what is made of a block, from an earlier start where that kept it."""
        return self.blocks.once(name, block, make)

    def over(
        self, name: str, blocks: Sequence[int], make: Callable[[int], Arrays]
    ) -> Iterator[tuple[int, Arrays]]:
        """Yield what the workers make of blocks, in their order.

        Raises:
            DflError: whatever making it raises.
            InvalidValueError: if no machine of the cluster has the memory for one worker.
            MissingExtraError: if Ray is not installed.
            UnsupportedProblemError: if torchrun started this process, too, or a block killed
                every worker that it was given to.
        """
        if rank_of()[1] > 1:
            raise UnsupportedProblemError(
                "blocks are shared by Ray's workers or by the processes of torchrun, not by both; "
                "start one process."
            )
        if not blocks:
            return
        with on_cluster() as ray:
            _check_memory(ray, self.memory)
            given = ray.data.from_items(list(blocks), override_num_blocks=len(blocks))
            given.context.execution_options.preserve_order = True
            given.context.enable_progress_bars = False
            make_row = _RowOfABlock([ray.put((self, name, make))], _tries(ray))
            made = given.map_batches(make_row, batch_size=1, num_cpus=1, memory=self.memory)
            for block, row in zip(blocks, made.iter_rows(), strict=True):
                found, said = pickle.loads(row["made"])
                for text, category in said:
                    warnings.warn(text, category, stacklevel=2)
                if isinstance(found, DflError):
                    raise found
                yield block, found


@contextmanager
def on_cluster() -> Iterator[Any]:
    """Yield the package ``ray``, connected to a cluster while the block runs.

    A connection that stands already is used and left as it is. Otherwise the cluster is that of
    the environment's ``RAY_ADDRESS``, or else one that runs on this machine, or else one is
    started here, on all its processors, without dashboard and without reports of usage.

    Raises:
        MissingExtraError: if Ray is not installed.
    """
    try:
        import ray
        import ray.data  # noqa: F401  # it is an extra of Ray's own
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"the engine 'ray' needs the package {error.name!r}, which is not installed: "
            "pip install 'dfl-toolkit[ray]'"
        ) from error
    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # read where a cluster is started
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield ray
    finally:
        ray.shutdown()


def _check_memory(ray: Any, memory: int) -> None:
    """Refuse what no machine of the cluster has: Ray would wait for it for ever."""
    machines = [one["Resources"] for one in ray.nodes() if one["Alive"]]
    most = max((int(one.get("memory", 0)) for one in machines if one.get("CPU")), default=0)
    if memory > most:
        raise InvalidValueError(
            f"memory of a worker must be at most what a machine of the cluster has, {most:,} "
            f"bytes, got {memory:,}; use a larger machine, or smaller blocks (row groups)."
        )


def _tries(ray: Any) -> Any:
    """Return an actor that counts how often each block was begun."""

    @final
    class Tries:  # a class in here travels as a whole, and its process need not import dfl
        def __init__(self) -> None:
            self.of: dict[int, int] = {}

        def one_more(self, block: int) -> int:
            self.of[block] = self.of.get(block, 0) + 1
            return self.of[block]

    return ray.remote(num_cpus=0)(Tries).remote()


@final
@dataclass(frozen=True)
class _RowOfABlock:
    """Turns the number of a block into one row.

    An instance, not a class: Ray Data keeps one worker process per processor for functions, and
    starts new ones in every pass for a class, which took 12 s a pass instead of 0.2. Nor do such
    workers hold processors that other tasks wait for, or lose arguments when they start again.
    Ray Data itself would give a block that ends every worker to new ones for ever.
    """

    task: Sequence[Any]  # in a sequence, or Ray would send what it stands for with every block
    tries: Any

    def __call__(self, batch: Any) -> dict[str, list[bytes]]:
        import ray

        shared, name, make = ray.get(self.task[0])
        block = int(batch["item"][0])
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                if ray.get(self.tries.one_more.remote(block)) > _TRIES:
                    raise UnsupportedProblemError(
                        f"a block of {shared.sizes[block]:,} people ended all {_TRIES} workers "
                        "that it was given to, most likely for want of memory: give a worker more "
                        f"than {shared.memory:,} bytes, or make the blocks (row groups) smaller."
                    )
                made = shared.once(name, block, partial(make, block))
            except DflError as error:
                made = error
        said = [(str(one.message), one.category) for one in caught]
        return {"made": [pickle.dumps((made, said))]}
