"""All that is asked of a trajectory, or of replicas of it, with the files read as seldom as possible."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from atomflow.analysis.base import FrameAnalysis, strict, sweep
from atomflow.analysis.chain_relaxation import ChainRelaxation, ChainResult
from atomflow.analysis.conductivity import (
    ConductivityResult,
    check_charges,
    conductivity_of_motions,
    why_no_conductivity,
)
from atomflow.analysis.coordination import Coordination, CoordinationResult
from atomflow.analysis.gathering import gathered
from atomflow.analysis.motion import motion_of_paths
from atomflow.analysis.msd import MSDResults, msd_of_motions
from atomflow.analysis.rdf import RDF, RDFResult
from atomflow.analysis.shells import Shells, ShellsResult
from atomflow.analysis.wanted import Wanted, check_labels, is_anion, known_species
from atomflow.errors import BadOptionError, TrajectoryError, UnknownNameError
from atomflow.model import Notice, Result, record
from atomflow.trajectory import (
    Preflight,
    Trajectory,
    check_trajectory,
    choose_frames,
    gather_paths,
    pool,
)

#: Frames of each trajectory that are looked over before.
_SAMPLE = 60
#: Replicas of one system have volumes nearer than this share, and their fluctuation.
_VOLUMES_APART = 0.02
_MINIMUM = "first minimum of g(r)"
#: Of a first shell where g(r) is too noisy to show its end, A: most cations hold O, N or F within 2.6 A (assumed).
_ASSUMED_CUTOFF_A = 3.0
_FIT = (
    "Mean square displacements of all lags come from power spectra. Diffusivities are slopes by generalised least squares "
    "with the covariance of the displacements, from a lag that the data choose; intervals are 95 % credible ones and "
    "include that this choice is uncertain."
)
_CHAINS = (
    "Chains are made whole along their bonds; their ends are those of the longest path over heavy atoms. The correlation "
    "of the vector between the ends is averaged over chains and time origins."
)

#: Called with a stage's name, and steps done and in all.
Told = Callable[[str, int, int], None]


@record("atomflow.analysis/1")
@dataclass(frozen=True, eq=False)
class Findings(Result):
    """What was found in a trajectory.

    Attributes
    ----------
    name : str
        The file, for people.
    msd, rdf, coordination, conductivity, chains : results of the analyses, or None
    shells : dict of str to ShellsResult
        By centre.
    method, assumed : tuple of str
        Sentences for the report.
    """

    name: str
    n_replicas: int
    n_frames: int
    msd: MSDResults | None
    rdf: RDFResult | None
    coordination: CoordinationResult | None
    shells: dict[str, ShellsResult]
    conductivity: ConductivityResult | None
    method: tuple[str, ...] = ()
    assumed: tuple[str, ...] = ()
    warnings: tuple[Notice, ...] = ()
    chains: ChainResult | None = None

    def to_dict(self) -> dict[str, Any]:
        """``{"schema", "warnings", "results": {"msd": {"Li": ...}, "rdf": {"Li:O": ...}, ...}}`` with plain values.

        What is not finite, such as the MSD at a lag that no two frames have, is None: JSON has no word for it.
        """
        results = {
            "msd": self.msd.to_dict()["species"] if self.msd else {},
            "rdf": self.rdf.to_dict()["pairs"] if self.rdf else {},
            "coordination": self.coordination.to_dict()["pairs"] if self.coordination else {},
            "shells": {centre: _body(shells) for centre, shells in self.shells.items()},
            "conductivity": _body(self.conductivity) if self.conductivity else {},
            "chains": self.chains.to_dict()["kinds"] if self.chains else {},
        }
        about = {"name": self.name, "n_replicas": self.n_replicas, "n_frames": self.n_frames}
        told = [dataclasses.asdict(notice) for notice in self.warnings]
        return {"schema": self.schema, **about, "warnings": told, "results": strict(results)}


def _body(result: Result) -> dict[str, Any]:
    return {key: value for key, value in result.to_dict().items() if key not in ("schema", "warnings")}


def analyse(
    replicas: Sequence[Trajectory],
    wanted: Wanted,
    start: int | None = None,
    stop: int | None = None,
    step: int | None = None,
    *,
    workers: int = 1,
    executor: Executor | None = None,
    progress: Told | None = None,
) -> Findings:
    """Carry out all that is wanted.

    Parameters
    ----------
    replicas : sequence of Trajectory
        One, or several of the same atoms, whose results are combined.
    wanted : Wanted
    start, stop, step : int, optional
        Frames of each.
    workers : int
        Local processes.
    executor : concurrent.futures.Executor, optional
        Where to run instead.
    progress : callable, optional
        Called with a stage's name, and steps done and in all.

    Raises
    ------
    TrajectoryError
        Replicas of different atoms; a trajectory that lacks what is asked for.
    BadOptionError
        Nothing is asked for.
    """
    first = _alike(replicas)
    parts = [(replica, choose_frames(replica, start, stop, step)) for replica in replicas]
    if not (wanted.rdf or wanted.coordination or wanted.shells or wanted.msd or wanted.chains):
        raise BadOptionError(
            "nothing to do: ask for rdf, cn, shell, msd or chains; 'auto' found neither what moves nor what could bind"
        )
    check_labels(wanted)
    notices: list[Notice] = [*first.notices, *wanted.notices]
    looked = [check_trajectory(replica, sample=_SAMPLE) for replica in replicas]
    notices += [notice for one in looked for notice in one.warnings]
    apart = _volumes_apart(looked)

    frames = {"start": start, "stop": stop, "step": step}

    def told(stage: str) -> Callable[[int, int], None] | None:
        return None if progress is None else lambda done, total: progress(stage, done, total)

    with pool(workers, executor) if workers > 1 or executor is not None else nullcontext() as processes:
        means = {"workers": workers, "executor": processes}
        return _all(replicas, parts, wanted, notices, apart, means, frames, told)


def _all(
    replicas: Sequence[Trajectory], parts: _Parts, wanted: Wanted, notices: list[Notice], apart: tuple[Notice, ...],
    means: dict[str, Any], frames: dict[str, int | None], told: Callable[[str], Any],
) -> Findings:  # fmt: skip
    """One stage after the other, on the same processes; ``apart`` is said with all that depends on the volume."""
    first = replicas[0]
    rdf, minima = _functions(first, parts, wanted, means, told("g(r)"))
    relaxation = _chains(replicas, wanted)
    coordination, shells, more = _around(first, parts, wanted, minima, means, told("shells"), relaxation)
    chains = None if relaxation is None else relaxation.results
    notices += more
    msd, conductivity, moved, doubts = _moving(parts, wanted, frames, means, told)
    notices += doubts
    if msd is not None and "none" not in msd.drift.split(", "):
        # What drifts has been taken out of every path; the method says so.
        notices = [one for one in notices if one.code != "drift"]
    rdf = rdf and _doubted(rdf, apart)
    conductivity = conductivity and _doubted(conductivity, apart)
    for result in (rdf, coordination, *shells.values(), msd, conductivity, chains):
        notices += result.warnings if result is not None else ()
    return Findings(
        name=", ".join(replica.name for replica in replicas),
        n_replicas=len(replicas),
        n_frames=sum(len(frames) for _, frames in parts),
        msd=msd,
        rdf=rdf,
        coordination=coordination,
        shells=shells,
        conductivity=conductivity,
        chains=chains,
        method=(*moved, *_method(rdf, shells), *((_CHAINS,) if chains else ())),
        assumed=(*wanted.assumed, *_assumed(replicas)),
        warnings=gathered(notices),
    )


def _alike(replicas: Sequence[Trajectory]) -> Trajectory:
    if not replicas:
        raise BadOptionError("no trajectory")
    first = replicas[0]
    files = [Path(replica.name).resolve() for replica in replicas if Path(replica.name).is_file()]
    if len(set(files)) < len(files):
        twice = next(path for path in files if files.count(path) > 1)
        raise BadOptionError(f"{twice} is given twice: replicas are independent runs; give each file once")
    for other in replicas[1:]:
        if other.n_atoms != first.n_atoms:
            raise TrajectoryError(
                f"{other.name} has {other.n_atoms} atoms, {first.name} {first.n_atoms}: replicas have the same atoms; "
                "analyse different systems one by one"
            )
        one, two = other.topology.types, first.topology.types
        if one is not None and two is not None and not np.array_equal(one, two):
            raise TrajectoryError(f"{other.name} and {first.name} have different atom types: they are no replicas")
    return first


def _volumes_apart(looked: Sequence[Preflight]) -> tuple[Notice, ...]:
    """A word where replicas differ in volume by more than they fluctuate: their mean is that of no system."""
    known = [one for one in looked if one.volume_A3 is not None]
    if len(known) < 2:
        return ()
    smallest, largest = (pick(known, key=lambda one: one.volume_A3 or 0.0) for pick in (min, max))
    low, high = smallest.volume_A3 or 0.0, largest.volume_A3 or 0.0
    share = (high - low) / (0.5 * (high + low))
    if share <= _VOLUMES_APART + max(one.volume_fluctuation or 0.0 for one in known):
        return ()
    text = (
        f"replicas differ in volume by {100 * share:.3g} %, more than they fluctuate ({Path(smallest.trajectory).name} "
        f"{low:.5g} A3, {Path(largest.trajectory).name} {high:.5g} A3): g(r) and conductivity are averages over unlike "
        "systems; equilibrate them, or analyse them one by one"
    )
    return (Notice("replica-volumes-differ", text),)


_Doubted = TypeVar("_Doubted", RDFResult, ConductivityResult)


def _doubted(result: _Doubted, more: tuple[Notice, ...]) -> _Doubted:
    return dataclasses.replace(result, warnings=gathered((*result.warnings, *more)))


_Parts = Sequence[tuple[Trajectory, Sequence[int]]]


def _functions(
    first: Trajectory, parts: _Parts, wanted: Wanted, means: dict[str, Any], told: Any
) -> tuple[RDFResult | None, dict[str, float | None]]:
    """The g(r) asked for, and the first minima that cutoffs are to be taken from."""
    pairs = tuple(dict.fromkeys([*wanted.rdf, *(name for name, cut in wanted.coordination.items() if cut is None)]))
    options: dict[str, Any] = {"r_max_A": wanted.r_max_A, "bin_A": wanted.bin_A}
    analyses: list[RDF] = []
    if pairs:
        analyses.append(RDF(first, pairs, wanted.species, exclude_molecules=wanted.exclude_molecules, **options))
    between = tuple(
        pair
        for centre, ligands in wanted.shells.items()
        for pair in (f"{centre}:{ligand}" for ligand in ligands)
        if pair not in wanted.shell_cutoffs_A
    )
    if between and not (wanted.exclude_molecules and set(between) <= set(pairs)):
        # A shell is made of other molecules, so its cutoff comes from g(r) between molecules.
        analyses.append(RDF(first, between, wanted.species, exclude_molecules=True, **options))
    if not analyses:
        return None, {}
    sweep(parts, analyses, progress=told, **means)
    minima = {name: pair.first_minimum_A for one in analyses for name, pair in one.results.pairs.items()}
    shown = analyses[0].results if pairs else None
    return shown, minima


def _around(
    first: Trajectory,
    parts: _Parts,
    wanted: Wanted,
    minima: Mapping[str, float | None],
    means: dict[str, Any],
    told: Any,
    chains: ChainRelaxation | None,
) -> tuple[CoordinationResult | None, dict[str, ShellsResult], list[Notice]]:
    """Coordination numbers and shells, in one sweep with the chains, with the cutoffs given or found."""
    notices: list[Notice] = []

    def cutoff(pair: str, given: float | None) -> float:
        found = given if given is not None else minima.get(pair)
        if found is None:
            text = f"{pair}: g(r) shows no first minimum above its noise; {_ASSUMED_CUTOFF_A} A is assumed as cutoff"
            notices.append(Notice("assumed-cutoff", f"{text}; give one, such as Li:O@2.8"))
        return _ASSUMED_CUTOFF_A if found is None else found

    cutoffs = {pair: cutoff(pair, given) for pair, given in wanted.coordination.items()}
    analyses: list[FrameAnalysis[Any]] = [] if chains is None else [chains]
    numbers = None
    if cutoffs:
        numbers = Coordination(first, cutoffs, wanted.species, exclude_molecules=wanted.exclude_molecules)
        analyses.append(numbers)
    shells: dict[str, Shells] = {}
    for centre, ligands in wanted.shells.items():
        reach = {name: cutoff(f"{centre}:{name}", wanted.shell_cutoffs_A.get(f"{centre}:{name}")) for name in ligands}
        anions = [name for name in reach if is_anion(name, wanted.charges_e)]
        shells[centre] = Shells(first, centre, tuple(reach), reach, species=wanted.species, anions=anions)
    analyses += shells.values()
    if analyses:
        sweep(parts, analyses, progress=told, **means)
    result = None
    if numbers is not None:
        sources = {
            pair: "assumed" if minima.get(pair) is None else _MINIMUM
            for pair, given in wanted.coordination.items()
            if given is None
        }
        told_where = {
            name: dataclasses.replace(pair, cutoff_from=sources.get(name, pair.cutoff_from))
            for name, pair in numbers.results.pairs.items()
        }
        result = dataclasses.replace(numbers.results, pairs=told_where)
    return result, {centre: shell.results for centre, shell in shells.items()}, list(dict.fromkeys(notices))


def _chains(replicas: Sequence[Trajectory], wanted: Wanted) -> ChainRelaxation | None:
    """What the next sweep is to find out about chains."""
    if not wanted.chains:
        return None
    named = {}
    for name in wanted.chains:
        if name not in wanted.species:
            raise UnknownNameError("species", name, wanted.species, known_species(wanted))
        named[name] = wanted.species[name]
    return ChainRelaxation(replicas[0], named, replica_frames=[replica.n_frames for replica in replicas])


def _moving(
    parts: _Parts, wanted: Wanted, frames: dict[str, int | None], means: dict[str, Any], told: Callable[[str], Any]
) -> tuple[MSDResults | None, ConductivityResult | None, tuple[str, ...], tuple[Notice, ...]]:
    """Diffusion, conductivity, how the paths were made, and why there is no conductivity."""
    if not wanted.msd:
        return None, None, (), ()
    if all(len(read) < 2 for _, read in parts) and (wanted.rdf or wanted.coordination or wanted.shells):
        return None, None, (), (Notice("one-frame", "there is one frame, so nothing can be said about motion"),)
    for name in wanted.msd:
        if name not in wanted.species:
            raise UnknownNameError("species", name, wanted.species, known_species(wanted))
    charges = {name: charge for name, charge in wanted.charges_e.items() if name in wanted.msd}
    if charges:
        check_charges(charges, wanted.species, wanted.temperature_K)
    motions, sentences = [], []
    for replica, _ in parts:
        groups = {name: replica.topology.select(wanted.species[name]) for name in wanted.msd}
        options: dict[str, Any] = {"unwrap": wanted.unwrap, "drift": _drift(wanted), "molecules": wanted.molecules}
        options |= {**frames, **means}
        with gather_paths(replica, groups, progress=told("paths"), **options) as paths:
            motions.append(motion_of_paths(paths, workers=means["workers"], progress=told("MSD")))
            sentences.append(
                f"Unwrapping: {paths.scheme} ({paths.scheme_why}). Drift: {paths.drift}. "
                + ("Centres of mass of molecules were followed." if wanted.molecules else "Atoms were followed.")
            )
    fit: dict[str, Any] = {"fit_ps": wanted.fit_ps, "temperature_K": wanted.temperature_K}
    noticed = [notice for replica, _ in parts for notice in replica.notices]
    msd = msd_of_motions(motions, viscosity_mPa_s=wanted.viscosity_mPa_s, notices=noticed, **fit)
    how = (*dict.fromkeys(sentences), _FIT)
    if not charges:
        return msd, None, how, ()
    if why_not := why_no_conductivity(motions):
        return msd, None, how, (Notice("no-conductivity", why_not),)
    return msd, conductivity_of_motions(motions, msd, charges, wanted.temperature_K), how, ()


def _drift(wanted: Wanted) -> str:
    """The frame of reference, with the selection of a species that is not followed itself in place of its name."""
    if wanted.drift not in wanted.species or wanted.drift in wanted.msd:
        return wanted.drift
    words = wanted.species[wanted.drift]
    return words if isinstance(words, str) else "index " + " ".join(str(int(atom)) for atom in words)


def _method(rdf: RDFResult | None, shells: Mapping[str, ShellsResult]) -> tuple[str, ...]:
    sentences = []
    if rdf is not None:
        within = " Pairs within one molecule are left out." if rdf.exclude_molecules else ""
        sentences.append(
            f"g(r): bins of {rdf.bin_A:.3g} A up to {rdf.r_max_A:.4g} A, counted over an ideal gas in the volume of each "
            f"frame; bands are one standard error from blocks of frames.{within}"
        )
    if shells:
        sentences.append(
            "Shells: molecules with a named atom within the cutoff. Without an anion a centre is solvent-separated, with one "
            "that touches no other centre a contact pair, else part of an aggregate."
        )
    return tuple(sentences)


def _assumed(replicas: Sequence[Trajectory]) -> tuple[str, ...]:
    return tuple(
        dict.fromkeys(
            line
            for replica in replicas
            for line in (
                f"atoms: {replica.topology.source or 'the trajectory itself'}",
                f"times: {replica.clock.source}",
            )
        )
    )
