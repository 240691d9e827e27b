"""Atomistic modelling of composite solid electrolytes: models, energies, studies, reports."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("atomflow")
except PackageNotFoundError:  # a checkout that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
