"""Any ASE calculator object will do: here tblite's own class with GFN1, for a neutral pair.

The charge of each species stands in ``atoms.info["charge"]``. A calculator that does not read it, like this one, is
only right for neutral molecules; ``atomflow.calculators.calculator`` makes ones that do.
"""

from tblite.ase import TBLite

from atomflow.build import molecule
from atomflow.energetics import binding_energy, ladder

mine = TBLite(method="GFN1-xTB", verbosity=0)
result = binding_energy(molecule("water"), [molecule("DMF")], ladder(mine), starts=2)
print(f"{result.ion} + {result.ligands[0]}: {result.binding_energy_eV:.3f} eV ({result.method})")
