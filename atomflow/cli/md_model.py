"""What ``atomflow md`` is to run: a box by its name, the folder of one, a user's own files, or a run begun before."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomflow.cli.build_box import MODEL_JSON, make_box
from atomflow.cli.session import output_folder
from atomflow.errors import AtomflowError, BadFileError, BadOptionError
from atomflow.model import System, load_file

if TYPE_CHECKING:
    from atomflow.build import Composition
    from atomflow.build.recipes import Recipe
    from atomflow.dynamics import EngineInput
    from atomflow.lammps import UserInput

#: What a folder of a run has.
RUN_JSON = "run.json"
#: Folders in that of a run: the box that was made on the way, and what a user's input reads.
BOX, INPUT = "box", "input"
_CATION = re.compile(r"[A-Z][a-z]?\d*\++")
_ATOMS = re.compile(r"^\s*(\d+)\s+atoms\b", re.MULTILINE)
#: A chain has at least so many atoms, as :mod:`atomflow.dynamics` counts them.
_CHAIN_ATOMS = 100
#: Of a recipe, whose bonds to hydrogen are held, fs.
STEP_FS = 2.0


@dataclass(frozen=True)
class Target:
    """What the words of the command line mean.

    Attributes
    ----------
    kind : {"run", "box", "data", "recipe"}
    path : Path
        Folder or file; of a recipe, that of the box to be made.
    out : Path
        Folder of the run.
    recipe : Recipe or None
    own : UserInput or None
    """

    kind: str
    path: Path
    out: Path
    recipe: Recipe | None = None
    own: UserInput | None = None


@dataclass(frozen=True)
class Size:
    """What an estimate needs to know.

    Attributes
    ----------
    name : str
    atoms : int
    chains : bool
    carriers : int
        Particles of the species whose diffusion is of interest.
    carrier : str
        Its name.
    timestep_fs : float
        By default.
    """

    name: str
    atoms: int
    chains: bool
    carriers: int
    carrier: str
    timestep_fs: float


def find_target(words: str, script: Path | None, out: Path | None, folders: tuple[Path, ...] = ()) -> Target:
    """What is to be run; nothing is made yet.

    Raises
    ------
    BadOptionError, BadFileError, UnknownNameError
        With what would be understood.
    """
    path = Path(words)
    if script is not None or path.is_file() or path.suffix in (".data", ".lmp"):
        return _own_files(path, script, out)
    if path.is_dir() and not _is_own_folder(words, path, out, folders):
        if (path / RUN_JSON).is_file():
            if out is not None and out.resolve() != path.resolve():
                raise BadOptionError(f"{path} is a run that was begun there; leave --out away to go on with it")
            return Target("run", path, path)
        if (path / MODEL_JSON).is_file():
            return Target("box", path, out or _beside(path, path.resolve().name))
        if (path / "system.data").is_file():
            raise BadFileError(
                path,
                f"a box without {MODEL_JSON}: build it again with this atomflow, or give {path / 'system.data'} --in "
                f"{path / 'system.in'}",
            )
    from atomflow.build import find_recipe
    from atomflow.errors import UnknownNameError

    try:
        recipe = find_recipe(words, folders)
    except UnknownNameError:
        if path.is_dir():
            told = f"is neither a run (no {RUN_JSON}) nor a box of atomflow build box (no {MODEL_JSON})"
            raise BadFileError(path, told) from None
        if len(path.parts) > 1:
            raise BadFileError(path, "no such folder or file") from None
        raise
    folder = out or Path(f"{recipe.name}-md")
    return Target("recipe", folder / BOX, folder, recipe=recipe)


def _is_own_folder(words: str, path: Path, out: Path | None, folders: tuple[Path, ...]) -> bool:
    """Whether a BOX was given, whose run is in a folder of the same name: the command that began it has to go on."""
    from atomflow.build import find_recipe
    from atomflow.errors import UnknownNameError

    if out is None or out.resolve() != path.resolve() or (path / MODEL_JSON).is_file():
        return False
    try:
        find_recipe(words, folders)
    except UnknownNameError:
        return False
    return True


def _own_files(path: Path, script: Path | None, out: Path | None) -> Target:
    from atomflow.lammps import read_user_input

    if not path.is_file():
        raise BadFileError(path, "no such data file" if not path.is_dir() else "a folder; --in goes with a data file")
    if script is None:
        raise BadOptionError(f"{path} needs its input script, too: give it with --in")
    own = read_user_input(script, path)
    if own.units != "real":
        raise BadFileError(script, f"units {own.units}: runs are kept in units real; convert data and input")
    return Target("data", path, out or _beside(path, path.stem), own=own)


def _beside(path: Path, name: str) -> Path:
    """The folder of a run beside what it is made of, which ``.`` and ``..`` have under no name."""
    return (path if path.name not in ("", "..") else path.resolve()).with_name(f"{name}-md")


def size_of(target: Target, options: dict[str, Any]) -> Size:
    """How large a run it is, without building anything."""
    if target.recipe is not None:
        made = _composition(target.recipe, options)
        salt = max((one for one in made.portions if one.role == "salt"), key=lambda one: one.count, default=None)
        one = salt or max(made.portions, key=lambda portion: portion.count)
        chains = any(portion.role == "polymer" and portion.atoms > _CHAIN_ATOMS for portion in made.portions)
        return Size(
            target.recipe.name, made.atoms, chains, one.count, f"cations of {one.name}" if salt else one.name, STEP_FS
        )
    model = load_model(target, options, lambda _text: None, dry=True)
    count, name = _carriers(target)
    step = model.timestep_fs or (2.0 if model.stiff_hydrogens else 1.0)
    return Size(model.name, model.atoms, model.chains, count, name, step)


def load_model(
    target: Target, options: dict[str, Any], say: Callable[[str], None], *, dry: bool = False
) -> EngineInput:
    """The model in LAMMPS' words; a recipe is built on the way, unless the same was before.

    Raises
    ------
    AtomflowError
        Whatever building it may raise.
    """
    from atomflow.dynamics import engine_input

    if target.own is not None:
        return _of_own_files(target.own, target.out, dry)
    system = _built(target, options, say) if target.recipe is not None else _read_system(target.path)
    return engine_input(system, cutoff_A=options["cutoff"])


def _built(target: Target, options: dict[str, Any], say: Callable[[str], None]) -> System:
    """The box of a recipe: that of the folder when it was made with the same options, which a run that goes on needs."""
    assert target.recipe is not None
    wanted = {key: options[key] for key in ("atoms", "seed", "salt", "forcefield", "charge_scale", "allow_assumed")}
    wanted |= {"filler_wt": options["filler_wt"], "dmf_wt": options["dmf_wt"], "folders": tuple(options["folders"])}
    if (target.path / "system.json").is_file() and (target.path / MODEL_JSON).is_file():
        from json import loads

        try:
            about = loads((target.path / "system.json").read_text(encoding="utf-8"))
            made = about["run"]["inputs"]
            counts = [(one["name"], one["count"], one["units"]) for one in about["portions"]]
        except (OSError, ValueError, KeyError, TypeError):
            made, counts = None, []
        if isinstance(made, dict) and all(_same(made.get(key), value) for key, value in wanted.items()):
            # An amount of zero is recorded like one that was not stated.
            portions = _composition(target.recipe, options).portions
            if [(one.name, one.count, one.units) for one in portions] == counts:
                return _read_system(target.path)
    with output_folder(target.path):
        return make_box(target.recipe, target.path, say, **wanted, picture=False)


def _same(recorded: object, wanted: object) -> bool:
    """Whether an option is what ``make_box`` recorded, which leaves out None, nothing, False and zero."""
    if isinstance(wanted, tuple):
        wanted = [str(one) for one in wanted]
    if not recorded and not wanted:
        return True
    return type(recorded) is type(wanted) and recorded == wanted


def _read_system(folder: Path) -> System:
    system = load_file(folder / MODEL_JSON)
    if not isinstance(system, System):
        raise BadFileError(folder / MODEL_JSON, "holds no system")
    return system


def _of_own_files(own: UserInput, out: Path, dry: bool) -> EngineInput:
    from atomflow.dynamics import user_engine_input

    try:
        data = own.data.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadFileError(own.data, "cannot be read as text") from error
    # The first line is a title, whatever it says.
    found = _ATOMS.search(data.partition("\n")[2][:20_000])
    if found is None:
        raise BadFileError(own.data, "has no line that says how many atoms there are; is it a LAMMPS data file?")
    if int(found[1]) == 0:
        raise BadFileError(own.data, "holds 0 atoms; a run needs at least one")
    if not dry:
        own.copy_files(out / INPUT)
    return user_engine_input(own, data, int(found[1]), own.data.stem, f"../../{INPUT}")


def _composition(recipe: Recipe, options: dict[str, Any]) -> Composition:
    from atomflow.build import compose

    return compose(recipe, atoms=options["atoms"], seed=options["seed"], changes=_changes(options))


def _changes(options: dict[str, Any]) -> dict[str, str]:
    """Amounts as ``compose`` takes them."""
    shares = {"filler": options["filler_wt"], "solvent": options["dmf_wt"]}
    amounts = {role: f"{value:.10g}%" for role, value in shares.items() if value is not None}
    return amounts | ({"salt": options["salt"]} if options["salt"] else {})


def _carriers(target: Target) -> tuple[int, str]:
    """Ions whose diffusion is of interest: the most numerous cation, or else the most numerous molecule."""
    if target.kind == "box":
        counts = _read_system(target.path).box.count()
        cations = {name: many for name, many in counts.items() if _CATION.fullmatch(name)}
        name = max(cations or counts, key=lambda one: counts[one])
        return counts[name], name
    from atomflow.analysis import everything
    from atomflow.trajectory import open_trajectory

    try:
        found = everything(open_trajectory(target.path))
    except AtomflowError:
        return 0, ""
    ions = [name for name, charge in found.charges_e.items() if charge > 0]
    sizes = {name: len(found.species[name]) for name in ions}
    best = max(sizes, key=lambda name: sizes[name], default="")
    return sizes.get(best, 0), best
