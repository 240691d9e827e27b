import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def by_hand():
    """The module of systems put together by hand."""
    if "hand_systems" not in sys.modules:
        spec = importlib.util.spec_from_file_location("hand_systems", Path(__file__).with_name("hand_systems.py"))
        module = importlib.util.module_from_spec(spec)
        sys.modules["hand_systems"] = module  # dataclasses look for their module there
        spec.loader.exec_module(module)
    return sys.modules["hand_systems"]
