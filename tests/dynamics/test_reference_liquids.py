"""The experimental values that molecular dynamics is held against."""

import math

import pytest
import yaml

from atomflow.library import library_folder
from atomflow.model import GRADES

VALUES = yaml.safe_load((library_folder("structures") / "reference" / "liquids.yaml").read_text(encoding="utf-8"))[
    "values"
]
#: Quantity to its unit and what a liquid near room temperature can have of it.
LIMITS = {
    "density": ("g/cm3", 0.5, 3.0),
    "viscosity": ("mPa s", 0.1, 100.0),
    "self-diffusion": ("m2/s", 1e-12, 1e-8),
    "conductivity": ("S/m", 1e-3, 10.0),
}


@pytest.mark.parametrize("row", VALUES, ids=lambda row: f"{row['system']}-{row['quantity']}-{row['value']}")
def test_every_value_has_unit_source_and_grade(row):
    unit, low, high = LIMITS[row["quantity"]]
    assert row["unit"] == unit
    assert low < row["value"] < high
    assert 250 < row["temperature_K"] < 400
    assert row["grade"] in GRADES
    assert row["source"]
    # Nothing is graded as published that was read second-hand, or as read that was not.
    assert row["grade"] in ("secondary", "assumed")
    assert (row["grade"] == "assumed") == (row["read"] == "nothing")


def of(system, quantity, kelvin=298.15):
    return [
        row["value"]
        for row in VALUES
        if (row["system"], row["quantity"]) == (system, quantity) and row["temperature_K"] == kelvin
    ]


def test_viscosities_are_what_their_correlations_give():
    kelvin = 298.15
    perry = 1e3 * math.exp(-20.425 + 1515.5 / kelvin + 1.4444 * math.log(kelvin))
    viswanath = 10 ** (-0.6398 - 56.047 / (194.25 - kelvin))
    assert sorted(of("DMF", "viscosity")) == pytest.approx(sorted((perry, viswanath)), abs=5e-4)


def test_the_density_of_dmf_agrees_with_that_of_its_recipe():
    from atomflow.build import find_recipe

    (density,) = of("DMF", "density")
    assert density == pytest.approx(find_recipe("dmf").components[0].density_g_cm3.value, abs=5e-4)
