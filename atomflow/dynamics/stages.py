"""One stage of a protocol as a LAMMPS input.

Dynamics run in pieces of a fixed number of steps, each with its own set-up and a restart file at its end. A process that
begins with such a file does just what the uninterrupted one does at that point, so that the two give the same numbers to
the last bit (on the same number of ranks, without random forces).
"""

from __future__ import annotations

from dataclasses import dataclass

from atomflow.dynamics.engine_input import EngineInput
from atomflow.dynamics.protocols import Stage
from atomflow.dynamics.restarts import Restart

#: A file of this name in a stage's folder asks LAMMPS to stop.
STOP = "stop"
#: Files of frames are called so, then their first step.
FRAMES = "frames"
#: The step at which a minimisation ends: it takes no time.
MINIMISED_STEP = 0
#: Columns of the table: LAMMPS' words, and ours with units.
THERMO = {
    "step": "step",
    "temp": "temperature_K",
    "press": "pressure_atm",
    "density": "density_g_cm3",
    "vol": "volume_A3",
    "pe": "potential_kcal_per_mol",
    "ke": "kinetic_kcal_per_mol",
    "etotal": "total_kcal_per_mol",
    "enthalpy": "enthalpy_kcal_per_mol",
    "evdwl": "van_der_waals_kcal_per_mol",
    "ecoul": "coulomb_near_kcal_per_mol",
    "elong": "coulomb_far_kcal_per_mol",
    "ebond": "bonds_kcal_per_mol",
    "eangle": "angles_kcal_per_mol",
    "edihed": "torsions_kcal_per_mol",
    "eimp": "impropers_kcal_per_mol",
    "pxx": "pressure_xx_atm",
    "pyy": "pressure_yy_atm",
    "pzz": "pressure_zz_atm",
    "pxy": "pressure_xy_atm",
    "pxz": "pressure_xz_atm",
    "pyz": "pressure_yz_atm",
}
#: Steps between two looks for the request to stop.
_LOOK_EVERY = 50
#: Relative error of the lengths that SHAKE holds, and its iterations at most.
_SHAKE = "1.0e-5 100 0"
#: Farthest that an atom may move in a step of a soft stage, A, and the damping of its heat bath, fs.
_SOFT_STEP_A, _SOFT_DAMPING_FS = 0.1, 50.0
#: Steps between two times that a box with rigid bodies is brought to rest as a whole.
_REST_EVERY = 100
_FS_PER_PS = 1000.0


@dataclass(frozen=True)
class StagePlan:
    """A stage in steps.

    Attributes
    ----------
    stage : Stage
    timestep_fs : float
    steps : int
        All of them.
    piece : int
        Steps between two restart files.
    thermo : int
        Steps between two rows of the table.
    frames : int
        Steps between two frames; 0 for none.
    suffix : str
        Of the files of frames: ``.xtc``, or ``.lammpstrj`` for text.
    seed : int
    """

    stage: Stage
    timestep_fs: float
    steps: int
    piece: int
    thermo: int
    frames: int = 0
    suffix: str = ".xtc"
    seed: int = 1

    @property
    def minimises(self) -> bool:
        """Whether nothing moves by time."""
        return self.stage.ensemble == "minimise"


def stage_script(model: EngineInput, plan: StagePlan, start: Restart, *, cold: bool, scale: float = 1.0) -> str:
    """The LAMMPS input that takes a stage from where it stands to its end.

    Parameters
    ----------
    model : EngineInput
    plan : StagePlan
    start : Restart
        File to begin with.
    cold : bool
        The atoms have no velocities yet.
    scale : float
        Factor on the edges of the box, reached at the end of the stage.
    """
    begin = start.step
    lines = start_lines(model, start.path, start.data)
    if not start.own and not start.data:
        # At once, for a fix that depends on time forbids it later.
        place = next(number for number, line in enumerate(lines) if line.startswith("read_restart"))
        lines.insert(place + 1, "reset_timestep 0")
    lines += _output(plan)
    if plan.minimises:
        return "\n".join([*lines, *_minimisation(model)]) + "\n"
    lines.append(f"timestep {plan.timestep_fs!r}")
    lines += _velocities(model, plan) if cold else []
    # Langevin's bath of soft stages sets the box as a whole in motion, which Nose and Hoover's would keep for ever.
    lines += ["velocity all zero linear"] if not (start.own or cold or model.own_motion) else []
    lines += list(model.own_motion) or _motion(model, plan, begin)
    lines += [
        f"variable asked equal is_file({STOP})",
        f"fix asked all halt {_LOOK_EVERY} v_asked != 0 error continue",
    ]
    if scale != 1.0:
        # Of the group that moves: a rigid body's middle goes along, its shape does not.
        sizes = " ".join(f"{axis} scale {scale!r}" for axis in "xyz")
        lines.append(f"fix size {model.moving} deform 1 {sizes} remap x")
    lines += _pieces(plan, begin)
    return "\n".join(lines) + "\n"


def start_lines(model: EngineInput, path: str, data: bool) -> list[str]:
    """Commands up to the last coefficient, beginning with a data file or a restart file."""
    return [line.replace("{start}", path) for line in (model.first if data else model.again)]


def piece_ends(begin: int, end: int, piece: int) -> list[tuple[int, int]]:
    """Lengths and repetitions of the runs from one step to another, so that they end at multiples of ``piece``."""
    runs: list[tuple[int, int]] = []
    if begin % piece and begin < end:
        first = min(piece - begin % piece, end - begin)
        runs.append((first, 1))
        begin += first
    if many := (end - begin) // piece:
        runs.append((piece, many))
        begin += many * piece
    if begin < end:
        runs.append((end - begin, 1))
    return runs


def _output(plan: StagePlan) -> list[str]:
    return [
        f"thermo {plan.thermo}",
        f"thermo_style custom {' '.join(THERMO)}",
        "thermo_modify flush yes format float %.10g lost error",
    ]


def _minimisation(model: EngineInput) -> list[str]:
    lines = ["min_style cg", "min_modify dmax 0.1"]
    # Rigid bodies stay where they are.
    lines += ["fix still held setforce 0.0 0.0 0.0"] if model.held else []
    lines += ["minimize 1.0e-6 1.0e-6 500 5000"]
    lines += ["unfix still"] if model.held else []
    return [*lines, f"reset_timestep {MINIMISED_STEP}", f"write_restart state.{MINIMISED_STEP}.restart"]


def _velocities(model: EngineInput, plan: StagePlan) -> list[str]:
    if model.own_velocities or model.keep_velocities:
        return list(model.own_velocities)
    heat = plan.stage.temperature_K
    return [f"velocity {model.moving} create {heat!r} {_seed(plan, 0)} mom yes rot no dist gaussian"]


def _motion(model: EngineInput, plan: StagePlan, begin: int) -> list[str]:
    """Who moves and how. SHAKE comes before whatever changes the box, which LAMMPS insists on."""
    stage, group = plan.stage, model.moving
    heat = f"{stage.temperature_K!r} {stage.end_temperature_K!r}"
    lines: list[str] = []
    if model.stiff_hydrogens and stage.ensemble != "soft":  # LAMMPS advises against both together
        lines.append(f"fix stiff {group} shake {_SHAKE} m 1.008")
    if model.held:
        # Collisions heat the bodies. A bath of their own would be noise in the pressure, as LAMMPS counts its forces among
        # those that hold a body together, and friction against the box at rest, which moves everything.
        lines.append(f"fix bodies held rigid molecule{_soft_bath(plan, begin) if stage.ensemble == 'soft' else ''}")
    bath = f"temp {heat} {stage.thermostat_ps * _FS_PER_PS!r}"
    if stage.ensemble == "soft":
        lines += [
            f"fix bath {group}{_soft_bath(plan, 2 + begin)}",
            f"fix motion {group} nve/limit {_SOFT_STEP_A!r}",
        ]
    elif stage.ensemble == "nve":
        lines.append(f"fix motion {group} nve")
    elif stage.ensemble == "nvt":
        lines.append(f"fix motion {group} nvt {bath}")
    else:
        pressure = f"{stage.pressure_atm!r} {stage.end_pressure_atm!r} {stage.barostat_ps * _FS_PER_PS!r}"
        # A body that was dilated would be taken for its new shape at the next start.
        lines.append(f"fix motion {group} npt {bath} iso {pressure}{' dilate free' if model.held else ''}")
    if model.held and stage.ensemble in ("nvt", "npt"):
        # A thermostat of some of the atoms does not keep the momentum of all.
        lines.append(f"fix rest all momentum {_REST_EVERY} linear 1 1 1")
    return lines


def _soft_bath(plan: StagePlan, number: int) -> str:
    """Langevin's; random forces need another seed after every restart, lest they repeat."""
    stage = plan.stage
    return f" langevin {stage.temperature_K!r} {stage.end_temperature_K!r} {_SOFT_DAMPING_FS!r} {_seed(plan, number)}"


def _frames(plan: StagePlan) -> list[str]:
    """A file of frames for each piece, named by its first step; it is closed before the restart file is written."""
    name = f"{FRAMES}.${{here}}{plan.suffix}"
    if plan.suffix == ".xtc":
        style = [f"dump frames all xtc {plan.frames} {name}", "dump_modify frames unwrap yes precision 10000"]
    else:
        style = [
            f"dump frames all custom {plan.frames} {name} id type xu yu zu",
            'dump_modify frames sort id format line "%d %d %.4f %.4f %.4f"',
        ]
    return ["variable here equal step", *style]


def _pieces(plan: StagePlan, begin: int) -> list[str]:
    """The runs, each with a restart file behind it; between them a wish to stop is heard."""
    lines: list[str] = []
    for number, (length, many) in enumerate(piece_ends(begin, plan.steps, plan.piece)):
        lines += [f"variable piece{number} loop {many}", f"label piece{number}"]
        lines += _frames(plan) if plan.frames else []
        lines += [f"run {length} start 0 stop {plan.steps}"]
        lines += ["undump frames"] if plan.frames else []
        lines += [
            "write_restart state.*.restart",
            'if "${asked} != 0" then quit',
            f"next piece{number}",
            f"jump SELF piece{number}",
        ]
    return lines


def _seed(plan: StagePlan, number: int) -> int:
    """Seeds that differ from stage to stage and from start to start; LAMMPS' limit is 900 million."""
    return 1 + (plan.seed * 7919 + number * 104_729) % 800_000_000
