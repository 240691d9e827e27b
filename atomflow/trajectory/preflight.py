"""What is right and wrong with a trajectory, before any number is taken from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from atomflow.errors import TrajectoryError
from atomflow.model import Notice, Result, record
from atomflow.trajectory.cells import BoxKind
from atomflow.trajectory.frames import Trajectory
from atomflow.trajectory.survey import Survey, survey, volume_fluctuation

Severity = Literal["ok", "note", "warning", "error"]

#: Total charges (e) below this are rounding in the force field.
_NEUTRAL_E = 1e-2
#: Drift over the whole trajectory (A) that can be seen in a mean square displacement.
_DRIFT_A = 1.0


@record("atomflow.finding/1")
@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    code : str
        Stable.
    severity : "ok", "note", "warning" or "error"
        With an error, numbers would be wrong; with a warning they may mislead.
    text : str
        One sentence.
    mend : str
        What to do about it; empty where nothing is to be done.
    """

    code: str
    severity: Severity
    text: str
    mend: str = ""


@record("atomflow.preflight/1")
@dataclass(frozen=True)
class Preflight(Result):
    """What a trajectory is, and what was found in it.

    Attributes
    ----------
    trajectory : str
    n_atoms, n_frames : int
        Whole frames.
    sampled : int
        Frames that were read for this.
    layout : str
        ``wrapped``, ``unwrapped``, ``images`` (wrapped, with image flags) or ``unknown``.
    scheme : str or None
        Unwrapping that ``auto`` takes; None when there is none that is right.
    scheme_why : str
    spacing_ps : float or None
        None when unknown or not uniform.
    clock_source : str
    box : "none", "orthogonal", "triclinic" or "tilted"
        ``tilted``: so much that the same lattice has a shorter basis.
    constant_box : bool or None
    volume_A3, volume_fluctuation : float or None
        Mean, and standard deviation over mean.
    jump_A, jump_cells : float or None
        Root mean square of the jumps between frames along one axis, of the kind of atom that moves most, in angstrom
        and in lengths of the cell.
    drift_A_per_ns : float or None
        Speed of the barycentre.
    charge_e : float or None
    findings : tuple of Finding
    warnings : tuple of Notice
        The findings that are warnings or errors, and what opening the trajectory noticed.
    """

    trajectory: str
    n_atoms: int
    n_frames: int
    sampled: int
    layout: str
    scheme: str | None
    scheme_why: str
    spacing_ps: float | None
    clock_source: str
    box: BoxKind
    constant_box: bool | None
    volume_A3: float | None
    volume_fluctuation: float | None
    jump_A: float | None
    jump_cells: float | None
    drift_A_per_ns: float | None
    charge_e: float | None
    findings: tuple[Finding, ...] = ()
    warnings: tuple[Notice, ...] = ()

    @property
    def sound(self) -> bool:
        """Whether nothing is an error."""
        return all(finding.severity != "error" for finding in self.findings)

    def to_text(self) -> str:
        """The findings, one a line, each with its mend."""
        lines = [self.trajectory]
        for finding in self.findings:
            lines.append(f"  {finding.severity:<8}{finding.text}" + (f"; {finding.mend}" if finding.mend else ""))
        return "\n".join(lines)


def check_trajectory(trajectory: Trajectory, sample: int = 200) -> Preflight:
    """Look a trajectory over.

    Frames are read in consecutive pairs spread evenly over the whole length, and none is kept: memory does not grow
    with the number of frames.

    Parameters
    ----------
    trajectory : Trajectory
    sample : int
        Frames to read at most.

    Returns
    -------
    Preflight

    Raises
    ------
    BadFileError
        A frame that cannot be read at all.
    """
    seen = survey(trajectory, sample=sample)
    scheme, why, refusal = None, "", ""
    try:
        choice = seen.choice
        scheme, why = choice.scheme, choice.why
        if not choice.known:
            seen.jumps.check(trajectory.name)
    except TrajectoryError as error:
        scheme, refusal = None, str(error)
    jump = seen.jumps.widest()
    drift = _drift(trajectory, seen)
    charges = trajectory.topology.charges_e
    charge = None if charges is None else float(np.sum(charges))
    boxes = [kind for kind in get_args(BoxKind) if kind in seen.boxes]
    findings = (
        Finding("frames", "ok", f"{trajectory.n_frames} whole frames of {trajectory.n_atoms} atoms"),
        *_noticed(trajectory.notices),
        *_broken(seen),
        *_clock(trajectory),
        *_box(seen),
        *_unwrapping(seen, scheme, why, refusal),
        *_repeated(seen, trajectory.notices),
        *_drifting(trajectory, drift),
        *_charge(charge),
    )
    told = [Notice(f.code, f"{f.text}; {f.mend}" if f.mend else f.text) for f in findings]
    wrong = [notice for notice, f in zip(told, findings, strict=True) if f.severity in ("warning", "error")]
    return Preflight(
        trajectory=trajectory.name,
        n_atoms=trajectory.n_atoms,
        n_frames=trajectory.n_frames,
        sampled=seen.frames,
        layout=seen.found_layout,
        scheme=scheme,
        scheme_why=why,
        spacing_ps=trajectory.clock.spacing_ps,
        clock_source=trajectory.clock.source,
        box=boxes[-1] if boxes else "none",
        constant_box=seen.constant_cell if boxes else None,
        volume_A3=float(np.mean(seen.volumes_A3)) if boxes else None,
        volume_fluctuation=volume_fluctuation(seen.volumes_A3) if boxes else None,
        jump_A=jump[2] if jump[0] else None,
        jump_cells=jump[1] if jump[0] else None,
        drift_A_per_ns=None if drift is None else drift[0],
        charge_e=charge,
        findings=findings,
        warnings=tuple(wrong),
    )


def _noticed(notices: Iterable[Notice]) -> list[Finding]:
    """What opening noticed; each notice says its mend itself."""
    return [Finding(n.code, "note" if n.code.endswith("-found") else "warning", n.text) for n in notices]


def _broken(seen: Survey) -> list[Finding]:
    if not seen.broken:
        return [Finding("finite", "ok", f"all coordinates of {seen.frames} sampled frames are finite")]
    frame, atom, count = seen.broken[0]
    text = f"{len(seen.broken)} of {seen.frames} sampled frames have coordinates that are not finite (the first: frame "
    text += f"{frame}, atom {atom + 1}, {count} in all)"
    return [
        Finding(
            "not-finite", "error", text, f"the run broke there: analyse the frames before it with --frames :{frame}"
        )
    ]


def _clock(trajectory: Trajectory) -> list[Finding]:
    clock = trajectory.clock
    if clock.times_ps is None:
        if any(notice.code == "no-clock" for notice in trajectory.notices):
            return []
        mend = "give it with --dt, such as --dt 10ps; until then lags are in frames and no diffusivity is given"
        return [Finding("no-clock", "warning", "the time between frames is not known", mend)]
    if clock.spacing_ps is None:
        return (
            []
            if trajectory.n_frames < 2
            else [Finding("clock", "note", f"the spacing is not uniform ({clock.source})")]
        )
    return [Finding("clock", "ok", f"frames are {clock.spacing_ps:g} ps apart (from {clock.source})")]


def _box(seen: Survey) -> list[Finding]:
    if not seen.boxes:
        mend = "give cell_A or a topology that has a cell; without it there is no RDF, conductivity or unwrapping"
        return [Finding("no-box", "warning", "no cell is stored", mend)]
    kinds = " and ".join(kind for kind in get_args(BoxKind) if kind in seen.boxes)
    volume = f"{np.mean(seen.volumes_A3):.6g} A3"
    if seen.without_cell:
        text = f"{seen.without_cell} of {seen.frames} sampled frames have no cell, the others an {kinds} one"
        return [Finding("no-box", "warning", text, "give cell_A")]
    if seen.constant_cell:
        return [Finding("box", "ok", f"constant box, {kinds}, {volume}: NVT or NVE")]
    text = (
        f"changing box, {kinds}, {volume} with a fluctuation of {100 * volume_fluctuation(seen.volumes_A3):.2g} %: NPT"
    )
    return [Finding("box", "note", text)]


def _unwrapping(seen: Survey, scheme: str | None, why: str, refusal: str) -> list[Finding]:
    if refusal:
        return [Finding("images-unknown", "error", refusal)]
    findings = [Finding("unwrapping", "ok", f"unwrapped by scheme {scheme}: {why}")]
    known = seen.choice.known
    findings += [Finding(notice.code, "warning", notice.text) for notice in seen.jumps.notices(known=known)]
    kind, rms, rms_A = seen.jumps.widest()
    if kind and len(findings) == 1:
        text = f"atoms jump {rms_A:.3g} A between frames ({kind}, rms along one axis), {rms:.2g} of the cell"
        findings.append(Finding("jumps", "ok", text))
    return findings


def _repeated(seen: Survey, notices: Iterable[Notice]) -> list[Finding]:
    if not seen.same:
        return []
    text = f"{len(seen.same)} of {seen.pairs} sampled frames equal the one before (the first: frame {seen.same[0]})"
    if any(notice.code == "duplicate-frames" for notice in notices):
        return [Finding("equal-frames", "note", text, "frames that repeat a time are left out of displacements")]
    return [
        Finding("equal-frames", "warning", text, "write each frame once: repeated ones make diffusivities too small")
    ]


def _drift(trajectory: Trajectory, seen: Survey) -> tuple[float, float] | None:
    """Speed of the barycentre (A/ns) and its standard error; None without a clock."""
    times = trajectory.clock.times_ps
    if times is None or trajectory.n_frames < 2 or not seen.drifts_A or not times[-1] > 0:
        return None
    spacing = float(times[-1]) / (trajectory.n_frames - 1)
    speeds = np.array([moved / gap for gap, moved in seen.drifts_A]) / spacing * 1e3
    error = np.linalg.norm(speeds.std(axis=0, ddof=1)) / np.sqrt(len(speeds)) if len(speeds) > 1 else 0.0
    return float(np.linalg.norm(speeds.mean(axis=0))), float(error)


def _drifting(trajectory: Trajectory, drift: tuple[float, float] | None) -> list[Finding]:
    if drift is None or trajectory.clock.times_ps is None:
        return []
    speed, error = drift
    length = speed * 1e-3 * float(trajectory.clock.times_ps[-1])
    weighed = "" if trajectory.topology.masses_u is not None else " (all atoms alike, as masses are not known)"
    text = f"the barycentre drifts by {speed:.3g} A/ns{weighed}"
    if length > _DRIFT_A and speed > 3 * error:
        mend = "subtract it: --drift barycentre, or framework where ions move through a solid"
        return [Finding("drift", "warning", f"{text}, {length:.3g} A over the trajectory", mend)]
    return [Finding("drift", "ok", text)]


def _charge(charge: float | None) -> list[Finding]:
    if charge is None:
        return [Finding("charge", "note", "charges are not known")]
    if abs(charge) < _NEUTRAL_E:
        return [Finding("charge", "ok", "neutral")]
    mend = "if ions are missing from the file, leave out --drift barycentre and the Einstein-Helfand conductivity"
    return [Finding("not-neutral", "warning", f"the atoms have a charge of {charge:+.4g} e in all", mend)]
