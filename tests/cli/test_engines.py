"""Where steps run: the options, and what is said when they make no sense."""

import pytest

from atomflow.cli import main
from atomflow.cli.engines import Engine, parse_resources
from atomflow.cli.progress import StepsDisplay
from atomflow.errors import BadOptionError, UnknownNameError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("relax:cores=4", {"cores": 4}),
        ("relax:ranks=16,walltime=24h", {"ranks": 16, "walltime_s": 86400.0}),
        ("relax:walltime=90s,memory=8GB", {"walltime_s": 90.0, "memory_GB": 8.0}),
        ("relax:walltime=01:30:00,memory=512MB,gpus=1", {"walltime_s": 5400, "memory_GB": 0.5, "gpus": 1}),
        ("relax:walltime=1.5d,nodes=2,estimate=5m", {"walltime_s": 129600.0, "nodes": 2, "estimate_s": 300.0}),
    ],
)
def test_resources_are_read_as_people_write_them(text, found):
    assert parse_resources((text,)) == {"relax": found}


def test_several_lines_about_one_step_add_up():
    assert parse_resources(("a:cores=2", "b.c:cores=3", "a:ranks=4")) == {
        "a": {"cores": 2, "ranks": 4},
        "b.c": {"cores": 3},
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("relax", "must be STEP:NAME=VALUE"),
        ("relax:", "must be STEP"),
        (":cores=2", "must be STEP"),
        ("relax:cores", "unknown resource"),
        ("relax:core=2", "did you mean cores"),
        ("relax:cores=two", "whole number"),
        ("relax:cores=0", "at least 1"),
        ("relax:walltime=24", "90s, 30m, 24h or HH:MM:SS"),
        ("relax:walltime=0h", "above zero"),
        ("relax:memory=lots", "8GB or 500MB"),
        ("re lax:cores=2", "must be STEP"),
    ],
)
def test_mistakes_say_what_is_meant(text, said):
    with pytest.raises((BadOptionError, UnknownNameError), match=said):
        parse_resources((text,))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cluster": "x"}, "profile of --engine slurm"),
        ({"name": "slurm", "jobs": 2}, "--max-jobs"),
        ({"name": "allocation", "jobs": 2}, "counts local processes"),
    ],
)
def test_options_that_contradict_each_other(options, said):
    with pytest.raises(BadOptionError, match=said):
        Engine(**options)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--engine", "slurm"], "clusters.yaml"),
        (["--engine", "allocation"], "inside a job"),
        (["--engine", "cloud"], "cloud"),
        (["--resources", "relax:core=2"], "did you mean cores"),
    ],
)
def test_mistakes_on_the_command_line(tmp_path, monkeypatch, capsys, words, said):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATOMFLOW_CLUSTERS", str(tmp_path / "clusters.yaml"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(SystemExit) as end:
        main(["run", "cation-anchor", "--calculator", "xtb", "--out", "x", *words])
    error = capsys.readouterr().err
    assert end.value.code == 2 and said in error and error.count("\n") == 1
    if "slurm" in words:
        assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_a_resource_of_no_step_is_told(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tblite")
    monkeypatch.chdir(tmp_path)
    words = ["bind", "Li+", "water", "--starts", "1", "--jobs", "1", "--out", "x", "--resources", "relaxx:cores=2"]
    main(words)
    assert "--resources relaxx: no step of that name ran" in capsys.readouterr().err


def test_the_display_counts_states():
    from rich.console import Console

    display = StepsDisplay(Console(quiet=True), quiet=True)
    for key, state in [
        ("a", "found"),
        ("b", "waiting"),
        ("b", "running"),
        ("b", "again"),
        ("b", "running"),
        ("c", "waiting"),
    ]:
        display.change("room.relax", key, state)
    (line,) = display.progress.tasks
    assert (line.description, line.completed, line.total) == ("relax", 1, 3)
    assert line.fields["states"] == "1 running, 1 waiting, 1 found"
    display.change("room.relax", "b", "done")
    display.change("room.relax", "c", "failed")
    assert (line.completed, line.fields["states"]) == (3, "1 found, 1 failed")
