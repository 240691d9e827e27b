import importlib
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture
def steps(monkeypatch):
    """The module of steps, importable here and in processes started from here."""
    monkeypatch.syspath_prepend(str(HERE))
    return importlib.import_module("steps_for_tests")


@pytest.fixture(autouse=True)
def _keep_modules():
    yield
    sys.path[:] = [p for p in sys.path if p != str(HERE)]
