"""Mutated dumps: they are read or refused in one line; no other exception, no hang, bounded memory, no index out of bounds.

Run as a program, this file mutates and reads: in a process of its own, for the limits and for kernels that check bounds.
"""

import faulthandler
import gzip
import itertools
import json
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zstandard

#: Seconds for one file; those that unpack to much are the slowest.
DEADLINE_S = 60
#: Memory beyond what the process has after reading one file, bytes.
MEMORY = 400 << 20

WORDS = [
    b"nan", b"-inf", b"1e400", b"-1e-400", b"1e", b"--1", b"+1", b".", b"-", b"0x1f", b"abc", b"Li", b"1,5", b"1_0", b"", b"\0",
    b"\xff\xfe", b":", b"ITEM:", b"ITEM: TIMESTEP", b"\nITEM: TIMESTEP\n3\n", b"ITEM: ATOMS", b"9" * 18, b"9" * 19, b"-" + b"9" * 40,
    b"1" * 3000, b"0." + b"3" * 3000, b"0" * 12000, b"1e99999999999", b"2147483648", b"4294967297", b"9223372036854775808",
    b"1.7976931348623159e308", b"\n", b"\r", b"\n\n", b" " * 9, b"\t",
]  # fmt: skip
COUNTS = [
    b"0",
    b"-1",
    b"1",
    b"19",
    b"21",
    b"1000000",
    b"999999999999999999",
    b"1e9",
    b"nan",
    b"20.0",
    b"",
    b"20 20",
    b"x",
]


def bases():
    """Dumps of several kinds: text."""
    rng = np.random.default_rng(11)
    kinds = [
        ("id type x y z", " pp pp pp", "0 9\n0 9\n0 9", "{:g}"),
        ("id mol type q xs ys zs ix iy iz", " xy xz yz pp pp pp", "-2 12 3\n0 9 -2\n1 8 1", "{:.6f}"),
        ("xu yu zu id element", " pp ff sm", "0 9\n0 9\n0 9", "{:20.15g}"),
        ("x y z", " abc origin pp pp pp", "9 0 0 1\n1 8 0 2\n1 1 7 3", "{:.17g}"),
        ("vx id x y z mass ix iy iz", "", "0 9\n0 9\n0 9", "{:.3e}"),
    ]
    for columns, bounds, box, form in kinds:
        text = "ITEM: UNITS\nreal\n"
        for step in (0, 100, 200, 300):
            text += f"ITEM: TIME\n{step}\nITEM: TIMESTEP\n{step}\nITEM: NUMBER OF ATOMS\n20\nITEM: BOX BOUNDS{bounds}\n{box}\n"
            text += f"ITEM: ATOMS {columns}\n"
            for i in rng.permutation(20):
                words = {"id": str(i + 1), "mol": "1", "type": "2", "element": "Li"} | dict.fromkeys(
                    ("ix", "iy", "iz"), "-1"
                )
                text += " ".join(words.get(c, form.format(rng.normal(4, 3))) for c in columns.split()) + "\n"
        yield text.encode()


def mutated(text, rng):
    """The text with one to three faults."""
    for _ in range(rng.integers(1, 4)):
        kind = rng.integers(0, 10)
        a, b = sorted(rng.integers(0, len(text) + 1, 2).tolist())
        if kind == 0:
            raw = bytearray(text)
            for place in rng.integers(0, len(raw), rng.integers(1, 9)) if raw else ():
                raw[place] ^= 1 << rng.integers(0, 8)
            text = bytes(raw)
        elif kind == 1:
            text = text[:b]
        elif kind == 2:
            text = text[:a] + text[min(b, a + int(rng.integers(1, 300))) :]
        elif kind == 3:
            text = text[:b] + text[a:b] + text[b:]
        elif kind == 4:
            parts = text.split(b"ITEM: NUMBER OF ATOMS\n")
            which = int(rng.integers(0, len(parts)))
            if which:
                parts[which] = bytes(rng.choice(COUNTS)) + b"\n" + parts[which].partition(b"\n")[2]
            text = b"ITEM: NUMBER OF ATOMS\n".join(parts)
        elif kind in (5, 6):
            lines = text.split(b"\n")
            which = int(rng.integers(0, len(lines)))
            words = lines[which].split(b" ")
            words[rng.integers(0, len(words))] = WORDS[rng.integers(0, len(WORDS))]
            lines[which] = b" ".join(words)
            text = b"\n".join(lines)
        elif kind == 7:
            lines = text.split(b"\n")
            del lines[rng.integers(0, len(lines))]
            text = b"\n".join(lines)
        elif kind == 8:
            lines = text.split(b"\n")
            one, two = rng.integers(0, len(lines), 2)
            lines[one], lines[two] = lines[two], lines[one]
            text = b"\n".join(lines)
        else:
            items = text.split(b"ITEM:")
            which = int(rng.integers(0, len(items)))
            text = b"ITEM:".join(items[:which] + items[which + 1 :])
    return text


def bombs(folder):
    """Small files that unpack to 150 MB each."""
    head = b"ITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n%d\nITEM: BOX BOUNDS\n0 9\n0 9\n0 9\nITEM: ATOMS id x y z\n"
    frame = head % 100 + b"".join(b"%d 0 0 0\n" % k for k in range(100))
    contents = [
        (b"", b"\0"),
        (b"ITEM:", b" "),
        (head % 10**9, b"\n"),
        (head % 18_000_000, b"1 0 0 0\n"),
        (head % 10**12, b"1"),
        (head % 5, b"1 0 0 0 0 0 0 0 "),
        (head % 5, b"1:"),
        (frame, frame),
        (head[:100], b"9"),
    ]
    for k, (start, filling) in enumerate(contents):
        piece = filling * ((1 << 20) // len(filling))
        for name, opened in (("gz", gzip.open), ("zst", zstandard.open)):
            path = Path(folder) / f"bomb-{k}.{name}"
            with opened(path, "wb") as file:
                file.write(start)
                for _ in range(150):
                    file.write(piece)
            yield path


def fuzz(count, seed, folder, n_bombs):
    """Read ``count`` mutated files; what happened, in numbers."""
    from atomflow.errors import AtomflowError
    from atomflow.trajectory import _dump_kernels as kernels
    from atomflow.trajectory.dump import LammpsDump

    rng = np.random.default_rng(seed)
    texts = list(bases())
    packers = [bytes, lambda text: gzip.compress(text, 1), zstandard.ZstdCompressor().compress]
    told = {"read": 0, "refused": 0, "wrong": [], "bounds": False}
    written = Path(folder) / "a.dump"

    def look(path):
        faulthandler.dump_traceback_later(DEADLINE_S, exit=True)
        try:
            source = LammpsDump(path)
            atoms = None if rng.random() < 0.7 else rng.integers(0, source.n_atoms, 3)
            for frame in source.frames(rng.permutation(source.n_frames)[:6].tolist(), atoms):
                good = frame.positions_A.shape == (source.n_atoms if atoms is None else 3, 3)
                good = good and (frame.cell_A is None or frame.cell_A.shape == (3, 3))
                if not good:
                    told["wrong"].append(f"{frame.positions_A.shape}")
            _ = source.first_columns
            told["read"] += 1
        except AtomflowError as error:
            told["refused"] += 1
            if "\n" in str(error) or len(str(error)) > 600:
                told["wrong"].append(f"message: {error!s:.200}")
        except BaseException as error:
            told["wrong"].append(f"{type(error).__name__}: {error!s:.200}")
            shutil.copy(path, Path(folder) / f"wrong-{len(told['wrong'])}")
        finally:
            faulthandler.cancel_dump_traceback_later()

    for text in texts:
        written.write_bytes(text)
        look(written)
    assert told["read"] == len(texts), told
    try:  # A text without line feeds behind it: what no caller does, and only checks of bounds notice.
        kernels.read_ids(np.full(5, 49, dtype=np.uint8), 0, 5, 0, np.empty(1, dtype=np.int64))
    except IndexError:
        told["bounds"] = True
    explosive = list(itertools.islice(bombs(folder), n_bombs))
    told["read"] = 0
    before = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (before + MEMORY,) * 2)
    for k in range(count):
        raw = mutated(texts[k % len(texts)], rng)
        pack = packers[k // len(texts) % 3]
        raw = pack(raw)
        if pack is not bytes and rng.random() < 0.3:
            raw = mutated(raw, rng)
        written.write_bytes(raw)
        look(written)
    told["defused"] = -told["refused"]
    for path in explosive:
        look(path)
    told["defused"] += told["refused"]
    return told


def run(tmp_path, count, seed, n_bombs):
    environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, __file__, str(count), str(seed), str(tmp_path), str(n_bombs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    assert told["bounds"]
    # One is a trajectory, only very repetitive: it may be read.
    assert told["defused"] >= min(n_bombs, 17)
    assert told["read"] + told["refused"] == count + n_bombs
    assert min(told["read"], told["refused"]) > count / 10


def test_mutated_files(tmp_path):
    run(tmp_path, 300, 1, n_bombs=2)


@pytest.mark.slow
def test_very_many_mutated_files(tmp_path):
    run(tmp_path, 6000, 2, n_bombs=18)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(fuzz(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))))
