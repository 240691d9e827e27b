"""Protocols: what they say, what is put in, how they are shortened, and files that are wrong."""

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from atomflow.dynamics import find_protocol, protocol_names
from atomflow.errors import BadFileError, BadOptionError, UnknownNameError
from atomflow.model import GRADES

SHIPPED = ("liquid", "none", "polymer", "polymer-full", "quick")

#: Time (ps), temperature (K; 600 is hot) and pressure (None: constant volume) of the 21 steps at 300 K and 1 atm, typed
#: from the listing in RadonPy, so that the YAML file is held against something else than itself.
TWENTY_ONE = (
    (50, 600, None), (50, 300, None), (50, 300, 1000),
    (50, 600, None), (100, 300, None), (50, 300, 30000),
    (50, 600, None), (100, 300, None), (50, 300, 50000),
    (50, 600, None), (100, 300, None), (5, 300, 25000),
    (5, 600, None), (10, 300, None), (5, 300, 5000),
    (5, 600, None), (10, 300, None), (5, 300, 500),
    (5, 600, None), (10, 300, None), (800, 300, 1),
)  # fmt: skip


def test_the_shipped_names_and_titles():
    names = protocol_names()
    assert tuple(names) == SHIPPED
    assert all(names[name] == find_protocol(name, temperature_K=300).title for name in names)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_protocol_says_what_it_does_and_ends_at_the_target(name):
    protocol = find_protocol(name, temperature_K=310.0, pressure_atm=2.5)
    assert protocol.name == name
    assert protocol.grade in GRADES
    assert len(protocol.source) > 20
    assert protocol.cannot
    assert len({stage.name for stage in protocol.stages}) == len(protocol.stages)
    assert all(stage.goal and not stage.production for stage in protocol.stages)
    assert protocol.stages[0].ensemble == "minimise"
    assert protocol.stages[-1].end_temperature_K == 310.0
    assert protocol.time_ps == pytest.approx(sum(stage.time_ps for stage in protocol.stages))
    for stage in protocol.stages:
        assert (stage.time_ps == 0) == (stage.ensemble == "minimise")
        assert stage.ensemble != "soft" or 0 < stage.timestep_fs <= 1
    pressed = [stage for stage in protocol.stages if stage.ensemble == "npt"]
    if pressed:
        last = pressed[-1]
        assert (last.check, last.pressure_atm, last.end_pressure_atm) == ("density", 2.5, 2.5)
        assert (last.temperature_K, last.end_temperature_K) == (310.0, 310.0)


def test_only_quick_is_too_short_for_its_density_and_says_so():
    told = {name: " ".join(find_protocol(name, temperature_K=300).cannot) for name in SHIPPED}
    assert [name for name in SHIPPED if "too little to judge the density" in told[name]] == ["quick"]
    assert "not settled" in told["quick"]


def test_the_21_steps_are_those_that_others_list():
    protocol = find_protocol("polymer-full", temperature_K=300.0)
    steps = protocol.stages[-21:]
    assert tuple(
        (stage.time_ps, stage.temperature_K, stage.pressure_atm if stage.ensemble == "npt" else None) for stage in steps
    ) == tuple(TWENTY_ONE)
    assert sum(stage.time_ps for stage in steps) == pytest.approx(1560)
    assert [stage.ensemble for stage in steps] == ["nvt", "nvt", "npt"] * 7
    assert [stage.ensemble for stage in protocol.stages[:-21]] == ["minimise", "soft"]


def test_the_polymer_protocol_is_the_full_one_at_the_same_scale():
    full, short = (find_protocol(name, temperature_K=300.0) for name in ("polymer-full", "polymer"))
    assert short.time_ps <= 500
    assert short.time_ps == pytest.approx(500, abs=0.01 * len(short.stages))
    for one, other in zip(full.stages, short.stages, strict=True):
        assert other.time_ps == pytest.approx(one.time_ps * 500 / full.time_ps, abs=0.011)
        assert (one.name, one.temperature_K, one.pressure_atm) == (other.name, other.temperature_K, other.pressure_atm)
    assert set(full.cannot) < set(short.cannot)


def test_hot_is_the_higher_of_its_own_and_the_target():
    cold, hot = (find_protocol("polymer-full", temperature_K=kelvin) for kelvin in (300.0, 720.0))
    assert {stage.temperature_K for stage in cold.stages if stage.name.startswith("heat")} == {600.0}
    assert {stage.temperature_K for stage in hot.stages if stage.name.startswith("heat")} == {720.0}


def test_a_ramp_goes_from_hot_and_pressed_to_the_target():
    (cool,) = (s for s in find_protocol("quick", temperature_K=333.0, pressure_atm=3.0).stages if s.name == "cool")
    assert (cool.temperature_K, cool.end_temperature_K) == (500.0, 333.0)
    assert (cool.pressure_atm, cool.end_pressure_atm) == (500.0, 3.0)


@settings(max_examples=60, deadline=None)
@given(longest=st.floats(2.2, 2000), name=st.sampled_from(SHIPPED))
def test_shortening_keeps_the_total_the_order_and_the_shortest_time(longest, name):
    full = find_protocol(name, temperature_K=300.0)
    short = find_protocol(name, temperature_K=300.0, longest_ps=longest)
    assert short.time_ps <= max(longest, 0) + 1e-6
    if full.time_ps <= longest:
        assert short == full
        return
    assert "shortened" in short.cannot[0]
    # Nothing is lost but what the grid of 10 fs takes.
    assert short.time_ps >= longest - 0.011 * len(short.stages)
    pairs = [(one.time_ps, other.time_ps) for one, other in zip(full.stages, short.stages, strict=True) if one.time_ps]
    for before, after in pairs:
        assert 0.1 - 1e-9 <= after <= before + 1e-9
        assert after * 100 == pytest.approx(round(after * 100), abs=1e-6)
    scaled = [after / before for before, after in pairs if after > 0.11]
    assert not scaled or max(scaled) - min(scaled) < 0.011 / 0.1


def test_what_is_too_short_to_be_a_run_is_refused():
    with pytest.raises(BadOptionError, match=r"protocol polymer: 2 ps is too short for its 22 stages, .* 2\.2 ps"):
        find_protocol("polymer", temperature_K=300.0, longest_ps=2.0)
    with pytest.raises(BadOptionError, match="too short"):
        find_protocol("none", temperature_K=300.0, longest_ps=float("nan"))


@pytest.mark.parametrize("wrong", [0.0, -3.0, float("nan"), float("inf"), 1e5])
def test_a_temperature_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(BadOptionError, match="temperature"):
        find_protocol("quick", temperature_K=wrong)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), 1e7])
def test_a_pressure_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(BadOptionError, match="pressure"):
        find_protocol("quick", temperature_K=300, pressure_atm=wrong)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown protocol 'polmer-full': did you mean .*polymer-full"):
        find_protocol("polmer-full", temperature_K=300.0)


GOOD = {
    "name": "mine",
    "title": "Mine",
    "source": "me",
    "grade": "assumed",
    "cannot": ["anything"],
    "hot_K": 450,
    "stages": [
        {"name": "down", "goal": "relax", "ensemble": "minimise", "check": "none"},
        {
            "name": "part", "goal": "part", "ensemble": "soft", "time_ps": 1, "temperature_K": "target",
            "timestep_fs": 0.5, "check": "none",
        },
        {"name": "heat", "goal": "heat", "ensemble": "nvt", "time_ps": 2, "temperature_K": "hot", "check": "temperature"},
        {
            "name": "rest", "goal": "rest", "ensemble": "npt", "time_ps": 30, "temperature_K": "target",
            "pressure_atm": "target", "check": "density",
        },
    ],
}  # fmt: skip


def written(folder, data, name="mine.yaml"):
    (folder / name).write_text(data if isinstance(data, str) else yaml.safe_dump(data))
    return folder


def changed(**changes):
    """The good file with other stages: ``heat={"time_ps": 3}`` changes a stage, None takes a key away."""
    data = yaml.safe_load(yaml.safe_dump(GOOD))
    for key, value in changes.items():
        stage = next((one for one in data["stages"] if one["name"] == key), None)
        target, items = (data, {key: value}) if stage is None else (stage, value)
        for inner, content in items.items():
            if content is None:
                del target[inner]
            else:
                target[inner] = content
    return data


def test_a_folder_of_the_user_comes_first(tmp_path, monkeypatch):
    written(tmp_path, changed(name="Quick"), "quick.yaml")
    assert find_protocol("quick", temperature_K=300, folders=[tmp_path]).title == "Mine"
    assert find_protocol("quick", temperature_K=300).title != "Mine"
    monkeypatch.setenv("ATOMFLOW_PROTOCOLS_PATH", str(tmp_path))
    assert find_protocol("QUICK", temperature_K=300).title == "Mine"
    assert set(protocol_names()) == {"Quick", "liquid", "none", "polymer", "polymer-full"}


def test_an_edited_file_is_read_again(tmp_path):
    written(tmp_path, GOOD)
    assert find_protocol("mine", temperature_K=300, folders=tmp_path).time_ps == pytest.approx(33)
    written(tmp_path, changed(rest={"time_ps": 40.5}))
    assert find_protocol("mine", temperature_K=300, folders=tmp_path).time_ps == pytest.approx(43.5)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(BadFileError, match="no such folder of protocols"):
        protocol_names([tmp_path / "nowhere"])


BASED = {key: GOOD[key] for key in ("name", "title", "source", "grade", "cannot")}


@pytest.mark.parametrize(
    ("data", "needle"),
    [
        (changed(speed=3), "unknown key 'speed'"),
        (changed(heat={"speed": 3}), "unknown key 'speed' of a stage"),
        (changed(grade="sure"), "grade must be one of"),
        (changed(source=None), "missing key 'source'"),
        (changed(heat={"goal": None}), "missing key 'goal'"),
        (changed(heat={"check": None}), "missing key 'check'"),
        (changed(heat={"check": "beauty"}), "check of stage heat must be one of"),
        (changed(heat={"ensemble": "nph"}), "ensemble of stage heat must be one of"),
        (changed(heat={"name": "a/../b"}), "letters, digits"),
        (changed(heat={"name": "part"}), "a name of its own"),
        (changed(heat={"time_ps": None}), "missing key 'time_ps' of stage heat"),
        (changed(heat={"time_ps": 0.05}), "time_ps of stage heat must be a number between 0.1"),
        (changed(heat={"time_ps": float("nan")}), "time_ps of stage heat must be a number"),
        (changed(heat={"pressure_atm": 1}), "pressure_atm of stage heat means nothing for nvt"),
        (changed(heat={"temperature_K": "warm"}), "must be one of target, hot"),
        (changed(heat={"temperature_K": -5}), "temperature_K of stage heat must be a number"),
        (changed(heat={"check": "density"}), "only an npt stage has a density"),
        (changed(hot_K=None), "the file needs hot_K"),
        (changed(part={"timestep_fs": 2}), "timestep_fs of stage part must be a number between 0.01 and 1"),
        (changed(part={"timestep_fs": None}), "missing key 'timestep_fs' of stage part"),
        (changed(down={"check": "energy"}), "a minimisation has no time"),
        (changed(down={"time_ps": 1}), "means nothing for minimise"),
        (changed(rest={"pressure_atm": None}), "missing key 'pressure_atm' of stage rest"),
        (changed(rest={"pressure_atm": 500}), "must stay at target and have the check density"),
        (changed(rest={"check": "energy"}), "must stay at target and have the check density"),
        (changed(stages=[]), "stages must be one or more"),
        (changed(based_on="quick", longest_ps=5), "give either stages, or based_on"),
        (BASED, "give either stages, or based_on"),
        ({**BASED, "based_on": "quick"}, "based_on goes with longest_ps"),
        ({**BASED, "based_on": "polymer", "longest_ps": 50}, "itself based on another"),
        ("name: !!python/object/apply:os.system ['touch owned']\n", "not valid YAML"),
        ("name: a\nname: b\n", "stands twice"),
        ("- 1\n", "must be a mapping"),
        ("\x00\x01", "not valid YAML"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path, data, needle):
    written(tmp_path, data)
    with pytest.raises(BadFileError) as caught:
        find_protocol("mine", temperature_K=300, folders=[tmp_path])
    assert needle in str(caught.value)
    assert str(tmp_path / "mine.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_base_that_is_not_there_is_told(tmp_path):
    written(tmp_path, {**BASED, "based_on": "polymr", "longest_ps": 50})
    with pytest.raises(UnknownNameError, match="polymer"):
        find_protocol("mine", temperature_K=300, folders=[tmp_path])


def shown(value):
    return f"{value:,.10g}"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_manual_shows_the_stages_of_the_data(name):
    text = (Path(__file__).parents[2] / "docs" / "md.md").read_text()
    section = re.split(r"^### ", text.split("## Protocols", 1)[1], flags=re.MULTILINE)
    (of_this,) = [part for part in section if part.startswith(f"`{name}`")]
    if name == "polymer":  # said in words: the other's, shortened
        assert "500 ps" in of_this
        assert "`polymer-full`" in of_this
        return
    rows = [line for line in of_this.splitlines() if re.match(r"\| [a-z0-9-]+ \| (minimise|soft|nvt|npt) ", line)]
    stages = find_protocol(name, temperature_K=300.0).stages
    assert len(rows) == len(stages)
    for row, stage in zip(rows, stages, strict=True):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[:2] == [stage.name, stage.ensemble]
        assert cells[2] == (shown(stage.time_ps) if stage.time_ps else "")
        assert cells[5] == stage.check
        assert cells[6] == stage.goal
        if stage.ensemble == "npt":
            ends = [part.replace("target", "1") for part in cells[4].split(" to ")]
            assert [ends[0], ends[-1]] == [shown(stage.pressure_atm), shown(stage.end_pressure_atm)]
