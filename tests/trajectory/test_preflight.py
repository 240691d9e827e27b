import numpy as np
import pytest

from atomflow.model import Notice, decode, encode
from atomflow.trajectory import Clock, Frame, Topology, Trajectory
from atomflow.trajectory.preflight import check_trajectory

BOX = np.diag([20.0, 25.0, 30.0])
N = 40


class Frames:
    """A source in memory that counts what was read."""

    name = "run.dump"

    def __init__(self, positions, cells, layout, images, notices):
        self.positions, self.layout, self.images, self.notices = positions, layout, images, notices
        self.n_frames, self.n_atoms = positions.shape[:2]
        self.cells = None if cells is None else np.broadcast_to(cells, (self.n_frames, 3, 3))
        self.read = 0

    def frames(self, indices, atoms=None):
        rows = slice(None) if atoms is None else atoms
        for i in indices:
            self.read += 1
            cell = None if self.cells is None else np.array(self.cells[i])
            yield Frame(i, self.positions[i][rows], cell, images=None if self.images is None else self.images[i][rows])


def wrap(positions, cells=BOX):
    fractions = np.einsum("tni,tij->tnj", positions, np.linalg.inv(np.broadcast_to(cells, (len(positions), 3, 3))))
    return np.einsum("tni,tij->tnj", fractions % 1, np.broadcast_to(cells, (len(positions), 3, 3)))


def walk(frames=300, step=0.5, seed=0, drift=(0.0, 0, 0)):
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, step, (frames, N, 3))
    moves -= moves.mean(axis=1, keepdims=True)
    moves[0] = rng.uniform(0, 1, (N, 3)) @ BOX
    return np.cumsum(moves + np.array(drift) * (np.arange(frames) > 0)[:, None, None], axis=0)


def run(positions, cells=BOX, *, layout="wrapped", images=None, spacing=1.0, notices=(), **known):
    known = {
        "elements": np.where(np.arange(N) % 2, "O", "Li"),
        "masses_u": np.full(N, 10.0),
        "charges_e": np.where(np.arange(N) % 2, -1.0, 1.0),
    } | known
    times = None if spacing is None else spacing * np.arange(len(positions))
    source = Frames(positions, cells, layout, images, ())
    return Trajectory(source, Topology(N, **known), Clock(times, "--dt"), tuple(notices))


def found(check, code):
    return next((finding for finding in check.findings if finding.code == code), None)


def test_a_sound_trajectory():
    check = check_trajectory(run(wrap(walk())))
    assert check.sound
    assert check.warnings == ()
    assert (check.n_atoms, check.n_frames, check.layout, check.scheme) == (N, 300, "wrapped", "toroidal")
    assert (check.box, check.constant_box, check.spacing_ps, check.charge_e) == ("orthogonal", True, 1.0, 0.0)
    assert check.volume_A3 == pytest.approx(15000)
    assert check.volume_fluctuation == pytest.approx(0, abs=1e-12)
    assert check.jump_A == pytest.approx(0.5, rel=0.05)
    assert check.jump_cells == pytest.approx(0.5 / 20, rel=0.05)
    assert {f.severity for f in check.findings} == {"ok"}
    assert {f.code for f in check.findings} == {
        "frames", "finite", "clock", "box", "unwrapping", "jumps", "drift", "charge",
    }  # fmt: skip
    assert "NVT or NVE" in check.to_text()


def test_only_a_sample_is_read_in_pairs_over_the_whole_length():
    traj = run(wrap(walk(frames=2000)))
    check = check_trajectory(traj, sample=60)
    assert traj.source.read == check.sampled <= 60
    late = walk(frames=2000)
    late[1990:, 3] = np.nan
    assert not check_trajectory(run(late, layout="unwrapped"), sample=60).sound


def test_coordinates_that_are_not_finite_name_frame_and_atom():
    for bad in (np.nan, np.inf):
        positions = walk()
        positions[123, 7, 1] = bad
        check = check_trajectory(run(positions, layout="unwrapped"), sample=400)
        assert not check.sound
        finding = found(check, "not-finite")
        assert finding.severity == "error"
        assert "frame 123, atom 8, 1 in all" in finding.text
        assert ":123" in finding.mend
        assert found(check, "jumps").severity == "ok"  # the other frames are judged


def test_frames_too_far_apart_are_an_error_when_wrapped_and_a_warning_when_near():
    check = check_trajectory(run(wrap(walk(step=6.0))))
    assert not check.sound
    assert check.scheme is None
    assert found(check, "images-unknown").severity == "error"
    near = check_trajectory(run(wrap(walk(step=2.6))))
    assert near.sound
    assert [notice.code for notice in near.warnings] == ["sparse-frames"]
    assert check_trajectory(run(walk(step=2.6), layout="unwrapped")).warnings == ()


def test_no_clock_is_told_once():
    check = check_trajectory(run(wrap(walk()), spacing=None))
    assert [n.code for n in check.warnings] == ["no-clock"]
    assert check.spacing_ps is None
    assert check.drift_A_per_ns is None
    opened = check_trajectory(run(wrap(walk()), spacing=None, notices=[Notice("no-clock", "not known")]))
    assert [n.code for n in opened.warnings] == ["no-clock"]


def test_what_opening_noticed_is_carried():
    notices = [Notice("truncated", "the last frame is cut short"), Notice("clock-found", "from log.lammps")]
    check = check_trajectory(run(wrap(walk()), notices=notices))
    assert found(check, "truncated").severity == "warning"
    assert found(check, "clock-found").severity == "note"
    assert [n.code for n in check.warnings] == ["truncated"]


def test_no_box():
    check = check_trajectory(run(walk(), None, layout="unknown"))
    assert (check.box, check.constant_box, check.volume_A3) == ("none", None, None)
    assert [n.code for n in check.warnings] == ["no-box"]
    assert check.scheme == "none"
    wrapped_without = check_trajectory(run(wrap(walk(step=0.05)), None, layout="unknown"))
    assert wrapped_without.scheme is None
    assert not wrapped_without.sound


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ([[20.0, 0, 0], [5.0, 20, 0], [0, 3, 20]], "triclinic"),
        ([[20.0, 0, 0], [29.0, 12, 0], [-31, 26, 15]], "tilted"),
        (np.diag([20.0, 20, 20]) @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0], "orthogonal"),
    ],
)
def test_kinds_of_boxes(cell, kind):
    cell = np.array(cell)
    check = check_trajectory(run(wrap(walk(), cell), cell))
    assert (check.box, check.constant_box) == (kind, True)


def test_a_fluctuating_box_is_npt():
    cells = BOX * (1 + 0.01 * np.random.default_rng(1).normal(size=300))[:, None, None]
    check = check_trajectory(run(wrap(walk(), cells), cells), sample=400)
    assert check.constant_box is False
    assert check.volume_fluctuation == pytest.approx(0.03, rel=0.15)
    assert found(check, "box").text.endswith("NPT")
    assert check.scheme == "toroidal"


def test_float32_cells_of_a_constant_box_are_constant():
    jitter = np.spacing(np.float32(30.0)) * np.random.default_rng(2).integers(-1, 2, (300, 3, 3)) * np.eye(3)
    assert check_trajectory(run(wrap(walk()), BOX + jitter)).constant_box


def test_drift_of_the_barycentre():
    check = check_trajectory(run(wrap(walk(drift=(0.02, 0.0, 0.01)))), sample=300)
    assert check.drift_A_per_ns == pytest.approx(1e3 * np.hypot(0.02, 0.01), rel=1e-6)
    assert found(check, "drift").severity == "warning"
    assert "6.69 A over the trajectory" in found(check, "drift").text
    by_mass = np.where(np.arange(N) % 2, 1.0, 100.0)
    moving = walk(step=0.0)
    moving[:, ::2] += 0.01 * np.arange(300)[:, None, None] * np.array([1.0, 0, 0])
    heavy = check_trajectory(run(moving, layout="unwrapped", masses_u=by_mass))
    assert heavy.drift_A_per_ns == pytest.approx(10 * 100 / 101, rel=1e-6)


def test_frames_that_equal_the_one_before():
    positions = walk()
    positions[150] = positions[149]
    check = check_trajectory(run(positions, layout="unwrapped"), sample=400)
    assert "1 of 299 sampled frames equal the one before (the first: frame 150)" in found(check, "equal-frames").text
    assert found(check, "equal-frames").severity == "warning"


def test_charge():
    charged = check_trajectory(run(wrap(walk()), charges_e=np.full(N, 0.5)))
    assert charged.charge_e == pytest.approx(20)
    assert found(charged, "not-neutral").severity == "warning"
    rounding = check_trajectory(run(wrap(walk()), charges_e=np.full(N, 1e-5)))
    assert found(rounding, "charge").severity == "ok"
    unknown = check_trajectory(run(wrap(walk()), charges_e=None))
    assert (unknown.charge_e, found(unknown, "charge").severity) == (None, "note")


@pytest.mark.parametrize("frames", [1, 2])
def test_short_trajectories(frames):
    check = check_trajectory(run(wrap(walk(frames=frames))))
    assert check.sound
    assert check.n_frames == frames


def test_a_check_is_a_result():
    check = check_trajectory(run(wrap(walk(step=2.6))))
    assert decode(encode(check)) == check
    plain = check.to_dict()
    assert plain["schema"] == "atomflow.preflight/1"
    assert plain["findings"][0]["text"] == "300 whole frames of 40 atoms"
    lines = check.to_text().splitlines()
    assert lines[0] == "run.dump"
    assert len(lines) == 1 + len(check.findings)
    assert any(line.startswith("  warning ") and "write frames more often" in line for line in lines)
