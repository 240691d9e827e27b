"""One binding energy in a few lines: Li+ with DMF by GFN2-xTB."""

from atomflow.build import molecule
from atomflow.energetics import binding_energy, ladder

result = binding_energy(molecule("Li+"), [molecule("DMF")], ladder("xtb"), starts=2, seed=1)
print(f"{result.ion} + {result.ligands[0]}: {result.binding_energy_eV:.3f} eV ({result.method})")
print(f"contacts {result.distances_A}, found by {result.hit_rate:.0%} of {result.starts} starts")
