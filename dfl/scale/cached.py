"""`cached_njit`: compiled loops that are kept on disk where that works, and work where not."""

# mypy: disable-error-code="misc,no-untyped-call"

import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, final

from numba import njit
from numba.core.caching import FunctionCache

__all__ = ["cached_njit"]

_said: list[str] = []


def cached_njit(**options: Any) -> Callable[[Any], Any]:
    """Return a decorator like ``numba.njit(cache=True)``, which raises where nothing can be kept.

    Args:
        options: of ``numba.njit``, all but ``cache``.
    """

    def decorate(function: Any) -> Any:
        compiled = njit(**options)(function)
        try:
            compiled._cache = _ForgivingCache(function)
        except (OSError, RuntimeError) as error:  # a read-only installation and no HOME
            _warn(f"cannot be kept ({error}); set NUMBA_CACHE_DIR to a folder that can be written")
        return compiled

    return decorate


@final
class _ForgivingCache(FunctionCache):
    """A cache whose unreadable files count as missing and are written anew."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function, or None where there is none that can be read."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # whatever unpickling half a file may end in
            _warn(f"were kept in files that cannot be read ({error!r}); the files are replaced")
            with suppress(OSError):
                self.flush()
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a compiled function, or do without."""
        try:
            super().save_overload(sig, data)
        except OSError as error:  # a full disk
            _warn(f"cannot be kept ({error})")


def _warn(problem: str) -> None:
    """Say so once in a process, not once for each function."""
    if _said:
        return
    _said.append(problem)
    warnings.warn(
        f"numba's compiled loops {problem}. They work; compiling them again takes seconds.",
        RuntimeWarning,
        stacklevel=2,
    )
