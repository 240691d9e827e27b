"""How often intervals of a diffusivity hold the truth: ours, kinisi's and the naive one, on the same simulated replicas.

Run: python benchmarks/intervals.py --out benchmarks/intervals.json        (20 minutes of processor time)

Replicas are made of a known diffusivity. *Brownian*: independent steps. *Cage*: a Brownian centre and a particle that
relaxes around it (sub-diffusive at first, then diffusive). *Langevin*: velocities that decay (ballistic at first).
*Pairs*: Brownian particles that move two by two. Each is analysed by

- ``atomflow``: nothing told but the frames; its window is found from the data, and replicas it calls not diffusive are
  counted apart;
- ``atomflow, told``: the same, told where diffusion begins (the true lag), as kinisi is;
- ``kinisi``: its Bayesian regression, told where diffusion begins (the true lag), with 28 lags up to 60 % of the run
  and fewer samples than its default, to keep the time bearable;
- ``naive``: the standard error of a straight line by least squares through the same lags, 1.96 of it to each side.

A 95 % interval is right when it holds the truth in 95 of 100; 90 to 98 is what 200 replicas can tell apart from it.
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import json
import time
import warnings
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np

warnings.filterwarnings("ignore")
STEP_A = 0.3
SLOPE_A2 = 3 * STEP_A**2  # of the mean square displacement, for one frame


def brownian(rng, particles, frames):
    return np.cumsum(rng.normal(0, STEP_A, (particles, frames, 3)), axis=1), SLOPE_A2, 1


def cage(rng, particles, frames, width_A=1.0, memory=0.8):
    """A centre that diffuses, and a particle that relaxes around it within some five frames."""
    centre, slope, _ = brownian(rng, particles, frames)
    around = np.empty_like(centre)
    around[:, 0] = rng.normal(0, width_A, (particles, 3))
    kicks = rng.normal(0, width_A * np.sqrt(1 - memory**2), centre.shape)
    for frame in range(1, frames):
        around[:, frame] = memory * around[:, frame - 1] + kicks[:, frame]
    return centre + around, slope, 20


def langevin(rng, particles, frames, memory=0.6):
    """Steps that remember: their sum diffuses (1 + memory) / (1 - memory) times as fast as independent ones."""
    steps = np.empty((particles, frames, 3))
    steps[:, 0] = rng.normal(0, STEP_A, (particles, 3))
    kicks = rng.normal(0, STEP_A * np.sqrt(1 - memory**2), steps.shape)
    for frame in range(1, frames):
        steps[:, frame] = memory * steps[:, frame - 1] + kicks[:, frame]
    return np.cumsum(steps, axis=1), SLOPE_A2 * (1 + memory) / (1 - memory), 15


def pairs(rng, particles, frames):
    one, slope, start = brownian(rng, particles // 2, frames)
    return np.concatenate([one, one + 2.0]), slope, start


CASES = {
    "brownian, 1 particle, 1000 frames": (brownian, 1, 1000),
    "brownian, 10 particles, 400 frames": (brownian, 10, 400),
    "brownian, 50 particles, 200 frames": (brownian, 50, 200),
    "cage, 10 particles, 1000 frames": (cage, 10, 1000),
    "cage, 50 particles, 500 frames": (cage, 50, 500),
    "langevin, 20 particles, 600 frames": (langevin, 20, 600),
    "pairs, 20 particles, 400 frames": (pairs, 20, 400),
}


def by_atomflow(paths, start=None, _=None, told=False):
    """Slope and interval, and whether it is called diffusive; per frame, as the truth is."""
    from atomflow.analysis import MSD
    from atomflow.trajectory import open_trajectory

    trajectory = open_trajectory(paths.transpose(1, 0, 2).copy(), ["Li"] * len(paths), dt_ps=1.0)
    known = {"fit_from_ps": float(start)} if told else {}
    msd = MSD(trajectory, species={"Li": "element Li"}, unwrap="none", drift="none", **known)
    one = msd.run().results.species["Li"]
    return one.slope_A2_per_ps, *one.slope_ci95_A2_per_ps, one.diffusive


def lags_of(frames):
    return np.unique(np.geomspace(1, 0.6 * frames, 28).astype(int))


def by_kinisi(paths, start, seed):
    """As its own analyzers do, from displacements; its unit of time is a frame."""
    import scipp as sc
    from kinisi.diffusion import Diffusion
    from kinisi.displacement import calculate_msd

    class Trajectory:
        displacements = sc.array(
            dims=["particle", "obs", "dimension"], values=paths[:, 1:] - paths[:, :1], unit="angstrom"
        )
        dt_index = sc.array(dims=["time interval"], values=lags_of(paths.shape[1]))
        dt = dt_index.to(dtype="float64") * sc.scalar(1.0, unit="ps")
        dimensionality = sc.scalar(3)

    np.random.seed(seed)  # noqa: NPY002 - what kinisi draws from
    fit = Diffusion(calculate_msd(Trajectory(), progress=False))
    fit.bayesian_regression(
        sc.scalar(float(start), unit="ps"), n_samples=400, n_burn=200, n_walkers=16, n_thin=5, progress=False
    )
    low, middle, high = np.percentile(fit.gradient.values, [2.5, 50, 97.5])
    return middle, low, high, True


def by_straight_line(paths, start, _):
    from scipy.stats import linregress

    from atomflow.analysis.correlation import msd_fft

    lags = np.arange(start, int(0.6 * paths.shape[1]))
    line = linregress(lags, msd_fft(paths).sum(axis=0)[lags])
    return line.slope, line.slope - 1.96 * line.stderr, line.slope + 1.96 * line.stderr, True


ANALYSES = {
    "atomflow": by_atomflow,
    "atomflow, told": partial(by_atomflow, told=True),
    "kinisi": by_kinisi,
    "naive": by_straight_line,
}


def summary(rows, truth):
    slopes, low, high, diffusive = (np.array(column, float) for column in zip(*rows, strict=True))
    held = (low <= truth) & (truth <= high)
    return {
        "coverage": round(float(held.mean()), 3),
        "below": round(float((high < truth).mean()), 3),
        "above": round(float((low > truth).mean()), 3),
        "bias": round(float(slopes.mean() / truth - 1), 4),
        "median_width_over_truth": round(float(np.median(high - low) / truth), 3),
        "called_diffusive": round(float(diffusive.mean()), 3),
        "coverage_if_diffusive": round(float(held[diffusive > 0].mean()), 3) if diffusive.any() else None,
    }


def study(name, replicas, with_kinisi):
    make, particles, frames = CASES[name]
    rows = {"atomflow": [], "atomflow, told": [], "naive": []} | ({"kinisi": []} if with_kinisi else {})
    spent = dict.fromkeys(rows, 0.0)
    for seed in range(replicas):
        paths, truth, start = make(np.random.default_rng([seed, particles, frames]), particles, frames)
        for who in rows:
            began = time.process_time()
            rows[who].append(ANALYSES[who](paths, start, seed))
            spent[who] += time.process_time() - began
    found = {who: {**summary(rows[who], truth), "cpu_s_each": round(spent[who] / replicas, 4)} for who in rows}
    print(name, {who: found[who]["coverage"] for who in found}, flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--replicas", type=int, default=200)
    parser.add_argument("--case", choices=list(CASES), action="append", help="only these")
    parser.add_argument("--without-kinisi", action="store_true")
    options = parser.parse_args()
    found = {name: study(name, options.replicas, not options.without_kinisi) for name in options.case or CASES}
    body = {
        "replicas": options.replicas,
        "packages": {name: version(name) for name in ("kinisi", "numpy", "scipy")},
        **found,
    }
    if options.out:
        options.out.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
