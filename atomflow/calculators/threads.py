"""How many cores one calculation may use, for every library underneath at once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from ase.calculators.calculator import Calculator
from threadpoolctl import ThreadpoolController

_known: tuple[int, ThreadpoolController] | None = None


def _controller() -> ThreadpoolController:
    """The loaded libraries; looking for them takes a millisecond, so only when modules have been imported since."""
    global _known
    if _known is None or _known[0] != len(sys.modules):
        _known = (len(sys.modules), ThreadpoolController())
    return _known[1]


@contextmanager
def limited_threads(count: int) -> Iterator[None]:
    """Let BLAS, OpenMP and PySCF use ``count`` threads within the block.

    Environment variables are read only when a library loads; this works at any time, and gives back what was set.
    """
    pyscf_lib = sys.modules.get("pyscf.lib")
    before = pyscf_lib.num_threads() if pyscf_lib else None
    with _controller().limit(limits=count):
        if pyscf_lib:
            pyscf_lib.num_threads(count)
        try:
            yield
        finally:
            if pyscf_lib and before:
                pyscf_lib.num_threads(before)


@contextmanager
def suitable_threads(calc: Calculator) -> Iterator[None]:
    """One thread for a calculator that says it gains nothing from more (``single_threaded``), else no change."""
    if getattr(calc, "single_threaded", False):
        with limited_threads(1):
            yield
    else:
        yield
