"""Batch scripts: what is asked for is in them, and nothing from a name or an option is run."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atomflow.cli import main
from atomflow.errors import AtomflowError, BadOptionError
from atomflow.flow import Store
from atomflow.flow.batch import Cluster, job_script, read_clusters, study_script
from atomflow.flow.slurm import as_template
from atomflow.model import Resources

FULL = {"cores": 8, "memory_GB": 16, "walltime": "08:30:00", "account": "lab", "partition": "long"}


@pytest.fixture
def profile(tmp_path, monkeypatch):
    path = tmp_path / "clusters.yaml"
    path.write_text('big:\n  cores: 8\n  walltime: "08:30:00"\n  prologue: [module load x]\nsmall: {scheduler: pbs}\n')
    monkeypatch.setenv("ATOMFLOW_CLUSTERS", str(path))
    monkeypatch.chdir(tmp_path)
    return path


def run(capsys, *words):
    code = 0
    try:
        main(list(words))
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize(
    ("scheduler", "lines"),
    [
        (
            "slurm",
            [
                "#SBATCH --cpus-per-task=8",
                "#SBATCH --mem=16G",
                "#SBATCH --time=08:30:00",
                "#SBATCH --account=lab",
                "#SBATCH --partition=long",
                "#SBATCH --signal=B:INT@120",
                "#SBATCH --nodes=1",
            ],
        ),
        ("pbs", ["#PBS -l select=1:ncpus=8:mem=16gb", "#PBS -l walltime=08:30:00", "#PBS -A lab", "#PBS -q long"]),
        ("lsf", ["#BSUB -n 8", "#BSUB -W 08:30", "#BSUB -P lab", "#BSUB -q long", "#BSUB -M 16GB"]),
    ],
)
def test_the_script_asks_for_what_the_profile_says(scheduler, lines):
    cluster = Cluster("c", scheduler=scheduler, prologue=("module load x",), **FULL)
    script = study_script(cluster, ["run", "x"], Path("/data"), Path("/data/job.log"), "atomflow-x").splitlines()
    assert set(lines) <= set(script)
    assert script[0] == "#!/bin/bash" and script.index("cd -- /data || exit 1") < script.index("module load x")
    assert script[-1].startswith("exec ") and script[-1].endswith("-m atomflow run x")
    directives = [line for line in script if line.startswith(("#SBATCH", "#PBS", "#BSUB"))]
    assert script[1 : 1 + len(directives)] == directives, "a batch system stops reading at the first other line"


def test_without_limits_nothing_is_asked_for():
    script = study_script(Cluster("c"), ["run", "x"], Path("/data"), Path("/data/job.log"), "n")
    assert "--time" not in script and "--mem" not in script and "None" not in script


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.characters(blacklist_characters="\x00", blacklist_categories=["Cs"])), max_size=4), st.text()
)
def test_words_reach_the_program_as_they_are(tmp_path_factory, words, folder_name):
    """The script is run by a real bash with a program that prints its arguments."""
    place = tmp_path_factory.mktemp("job")
    show = place / "show"
    show.write_text('#!/bin/bash\nprintf "%s\\0" "$@"\n')
    show.chmod(0o755)
    cluster = Cluster("c", command=shlex.quote(str(show)))
    script = study_script(cluster, words, place, place / "job.log", "n")
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == (words or [""])


@pytest.mark.parametrize("folder", ["a b", "$(touch pwned)", "`touch pwned`", "x'; touch pwned; '", "-n", "a\nb"])
def test_a_folder_s_name_is_not_run(tmp_path, folder):
    place = tmp_path / folder
    place.mkdir()
    script = study_script(Cluster("c", command="pwd #"), ["run"], place, Path("/x.log"), "n")
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout == f"{place}\n" and not list(tmp_path.rglob("pwned"))


@pytest.mark.parametrize(
    "changes",
    [
        {"account": "a b"},
        {"account": "a\n#SBATCH --uid=0"},
        {"partition": "x;y"},
        {"partition": 3},
        {"walltime": "1 day"},
        {"walltime": 3600},
        {"cores": 0},
        {"cores": "8"},
        {"cores": True},
        {"memory_GB": -1},
        {"scheduler": "cron"},
        {"prologue": ("a\nb",)},
        {"command": "a\nb"},
        {"gres": "gpu:1\n"},
    ],
)
def test_settings_that_cannot_stand_in_a_script_are_refused(changes):
    with pytest.raises(BadOptionError, match="cluster 'c'"):
        Cluster("c", **changes)


@pytest.mark.parametrize("log", ["/a b/job.log", "/a\n#SBATCH --uid=0", "/a;b", "/it's"])
def test_a_log_that_cannot_stand_in_a_directive_is_refused(log):
    with pytest.raises(BadOptionError, match="--out"):
        study_script(Cluster("c"), ["run"], Path("/data"), Path(log), "n")


@pytest.mark.parametrize(
    "text", ["", "- a", "a: 3", "a: {coresx: 3}", "a: {cores: x}", "{", "a: !!python/name:os.system"]
)
def test_a_profile_file_that_makes_no_sense(tmp_path, text):
    path = tmp_path / "clusters.yaml"
    path.write_text(text)
    with pytest.raises(AtomflowError) as error:
        read_clusters(path)
    assert error.value.exit_code == 2


def test_dry_run_prints_the_script_and_writes_nothing(capsys, profile, tmp_path):
    code, out, err = run(capsys, "submit", "--dry-run", "--cores", "4", "run", "cation-anchor", "--out", "there")
    assert code == 0 and "--cpus-per-task=4" in out and "module load x" in out
    assert f"--jobs 4 --out {tmp_path}/there" in out and "34.0 core hours" in err
    assert not (tmp_path / "there").exists()


def test_the_named_cluster_is_used(capsys, profile):
    assert (
        "#PBS -N atomflow-cation" in run(capsys, "submit", "--cluster", "small", "--dry-run", "run", "cation-anchor")[1]
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "cation-anchor", "--startss", "3"], "--startss"),
        (["run", "cation-anchr"], "cation-anchor"),
        (["bind", "Li+", "DMF"], "submit run STUDY"),
        (["--cluster", "bigg", "run", "cation-anchor"], "big"),
        (["--walltime", "soon", "run", "cation-anchor"], "HH:MM:SS"),
        (["run", "cation-anchor", "--out", "a b"], "--out"),
    ],
)
def test_a_mistake_is_told_before_anything_is_submitted(capsys, profile, words, said):
    code, _, err = run(capsys, "submit", *words)
    assert code == 2 and said in err and err.count("\n") == 1


def test_no_profiles_and_no_batch_system(capsys, profile, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    code, _, err = run(capsys, "submit", "run", "cation-anchor", "--out", "there")
    assert code == 2 and "sbatch" in err and err.count("\n") == 1
    monkeypatch.setenv("ATOMFLOW_CLUSTERS", str(profile.with_name("none.yaml")))
    code, _, err = run(capsys, "submit", "run", "cation-anchor")
    assert code == 2 and "docs/cluster.md" in err and err.count("\n") == 1


def test_the_profile_of_the_documentation_is_read(tmp_path):
    text = (Path(__file__).parents[2] / "docs" / "cluster.md").read_text()
    (tmp_path / "clusters.yaml").write_text(text.split("```yaml\n")[1].split("```")[0])
    assert {c.scheduler for c in read_clusters(tmp_path / "clusters.yaml").values()} == {"slurm", "pbs"}


def test_a_dry_run_says_what_it_may_cost(profile, tmp_path, capsys):
    code, script, said = run(capsys, "submit", "--dry-run", "run", "cation-anchor", "--calculator", "xtb", "--out", "x")
    assert code == 0 and "--cpus-per-task=8" in script and "--jobs 8" in script
    assert "1 job, 8 cores, at most 68.0 core hours" in said and "nothing is known" in said
    Store(os.environ["ATOMFLOW_STORE"]).add("some.step", "0" * 64, [], {"value": 1}, 7200.0, "1")
    words = ["submit", "--dry-run", "run", "cation-anchor", "--calculator", "xtb", "--engine", "slurm", "--out", "x"]
    code, script, said = run(capsys, *words)
    assert code == 0 and "--cpus-per-task=1\n" in script and "--jobs" not in script
    assert "steps are jobs of their own" in said and "so far 1 step: 2.00 h in all, 7200.0 s each" in said
    assert not (tmp_path / "x").exists()


def test_what_only_slurm_knows_is_in_its_script():
    cluster = Cluster("c", walltime="01:00:00", qos="high", gres="gpu:a100:2", constraint="skylake", signal="B:TERM@60")
    lines = study_script(cluster, ["run", "x"], Path("/data"), Path("/data/job.log"), "n").splitlines()
    asked = {f"#SBATCH --{x}" for x in ("qos=high", "gres=gpu:a100:2", "constraint=skylake", "signal=B:TERM@60")}
    assert asked <= set(lines)
    gpus = job_script(Cluster("c"), Resources(gpus=2, ranks=4, nodes=2, memory_GB=3), "x", Path("/d"), Path("/l"), "n")
    assert {"#SBATCH --gres=gpu:2", "#SBATCH --ntasks=4", "#SBATCH --nodes=2", "#SBATCH --mem=1536M"} <= set(
        gpus.splitlines()
    )


@pytest.mark.parametrize("text", ["{{ x }} {% raw %} {# no #} ${#array} %}", "plain", ""])
def test_a_script_survives_the_template_engine(text):
    from jinja2 import Template

    assert Template(as_template(text)).render(x=1) == text


@pytest.mark.parametrize("text", ["{% endraw %}", "{%endraw%}", "{%- endraw -%}", "a {%+  endraw %} b"])
def test_the_one_word_that_cannot_be_quoted_is_refused(text):
    with pytest.raises(BadOptionError, match="endraw"):
        as_template(text)
