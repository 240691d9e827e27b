"""What holds for every test."""

import os
import signal
import subprocess

import pytest


@pytest.fixture(scope="session", autouse=True)
def _interruptible():
    """A shell starts background jobs with SIGINT ignored, and children inherit it: tests of Ctrl-C would see nothing."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _store_of_the_session(tmp_path_factory):
    """For what fixtures of wider scope compute."""
    os.environ["ATOMFLOW_STORE"] = str(tmp_path_factory.mktemp("store"))


@pytest.fixture(autouse=True)
def _store(tmp_path_factory, monkeypatch):
    """A store of its own: no test may find what another has computed."""
    monkeypatch.setenv("ATOMFLOW_STORE", str(tmp_path_factory.mktemp("store")))


@pytest.fixture
def seen(tmp_path):
    """A folder in which steps leave a mark each time they run."""
    folder = tmp_path / "seen"
    folder.mkdir()
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 256 kB, which can be made larger by mounting it again."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", disk], capture_output=True).returncode:
        pytest.skip("no right to mount a small disk")
    yield disk
    subprocess.run(["umount", disk], check=True)
