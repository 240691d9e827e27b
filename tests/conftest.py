"""Every test has a store of its own: none may find what another has computed."""

import os

import pytest


@pytest.fixture(scope="session", autouse=True)
def _store_of_the_session(tmp_path_factory):
    """For what fixtures of wider scope compute."""
    os.environ["ATOMFLOW_STORE"] = str(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def _store(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("ATOMFLOW_STORE", str(tmp_path_factory.mktemp("store")))
