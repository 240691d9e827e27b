"""A species of your own: one YAML file in a folder of yours."""

import tempfile
from pathlib import Path

from atomflow.build import molecule

SPECIES = """\
name: "THF"
aliases: ["tetrahydrofuran", "oxolane"]
smiles: "C1CCOC1"
formula: "C4H8O"
charge: 0
multiplicity: 1
role: solvent
source: "constitution follows from the name; geometry made on demand by RDKit"
grade: secondary
"""

with tempfile.TemporaryDirectory() as folder:
    (Path(folder) / "thf.yaml").write_text(SPECIES, encoding="utf-8")
    thf = molecule("oxolane", folders=[folder])  # for the command line: ATOMFLOW_SPECIES_PATH=folder

print(f"{thf.name}: {thf.formula}, {len(thf)} atoms, grade {thf.grade}")
