"""The command line: thin, it only turns words into calls."""

from atomflow.cli.main import main

__all__ = ["main"]
