"""Ctrl-C while RDKit is at work: heard, although RDKit takes the signal for itself."""

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from atomflow.cli.interrupt import interruptible

#: Embeds all the time, here or in a thread; says so, then waits for the signal.
PROGRAM = """
import sys, threading
import click
from atomflow.cli import main
home = sys.modules["atomflow.cli.main"]
over = threading.Event()

def embed_for_ever():
    from rdkit import Chem
    from rdkit.Chem import AllChem
    graph = Chem.AddHs(Chem.MolFromSmiles("CC(C)C(=O)N" * 12))
    print("working", flush=True)
    while not over.is_set():
        AllChem.EmbedMolecule(graph, maxAttempts=1)

@click.command()
def work():
    if sys.argv[1] == "thread":
        thread = threading.Thread(target=embed_for_ever)
        thread.start()
        try:
            threading.Event().wait(60)
        finally:
            over.set()
            thread.join()
    else:
        embed_for_ever()

home._Commands.get_command = lambda self, ctx, name: work
main(["work"])
"""


@pytest.mark.parametrize("where", ["main", "thread"])
def test_an_interrupt_in_the_middle_of_rdkit_is_heard(tmp_path, where):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    running = subprocess.Popen(
        [sys.executable, str(program), where], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert running.stdout.readline() == "working\n"
        time.sleep(1)
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode == 130 and "stopped" in said and "Traceback" not in said
    assert "interrupted" not in said, "RDKit got the signal"


def test_everything_is_as_before_afterwards():
    before = signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.getsignal(signal.SIGUSR1), threading.active_count()
    with interruptible():
        assert signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    assert before == (
        signal.pthread_sigmask(signal.SIG_BLOCK, []),
        signal.getsignal(signal.SIGUSR1),
        threading.active_count(),
    )
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_an_interrupt_within_the_block_is_a_keyboard_interrupt():
    with pytest.raises(KeyboardInterrupt), interruptible():
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)


def test_the_command_line_starts_without_numerical_libraries():
    """Their threads would take SIGINT if they were there before the block."""
    check = "import sys, atomflow.__main__; sys.exit(bool({'numpy', 'rdkit', 'ase', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check]).returncode == 0
