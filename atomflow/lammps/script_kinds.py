"""Which commands of an input script may be said again behind ``read_restart``, and which cannot be gone on with.

Found with LAMMPS itself (22 Jul 2025), each by a run that was stopped and gone on with beside one that was not;
``tests/lammps/test_user_input.py`` repeats the cases. What LAMMPS's manual says of it: https://docs.lammps.org/read_restart.html.
"""

from __future__ import annotations

import re

#: Kept by the restart file, and errors or other atoms when said again.
ONCE = frozenset(
    [
        "units",
        "atom_style",
        "boundary",
        "dimension",
        "mass",
        "set",
        "replicate",
        "change_box",
        "displace_atoms",
        "delete_atoms",
        "delete_bonds",
        "create_atoms",
        "create_bonds",
        "reset_atoms",
        "reset_ids",
        "reset_atom_ids",
        "reset_mol_ids",
        "group",
        "labelmap",
        "read_dump",
    ]
)
#: Not kept, or kept and harmless to say again.
AGAIN = frozenset(
    [
        "newton",
        "processors",
        "atom_modify",
        "package",
        "suffix",
        "molecule",
        "variable",
        "lattice",
        "box",
        "comm_style",
        "comm_modify",
        "neighbor",
        "neigh_modify",
        "region",
        "kspace_style",
        "kspace_modify",
        "special_bonds",
        "pair_modify",
        "dielectric",
        "run_style",
        "balance",
        "fix",
        "fix_modify",
        "compute",
        "compute_modify",
    ]
)
#: Of these, what LAMMPS takes ahead of the box; when it stands there, it does so again. All others go behind it.
BEFORE_BOX = frozenset(
    ["newton", "processors", "atom_modify", "package", "suffix", "molecule", "variable", "lattice", "box", "comm_style"]
)
#: ``X_style`` and ``X_coeff``.
STYLES = ("pair", "bond", "angle", "dihedral", "improper")
#: The runner has its own, or they change nothing.
LEFT_OUT = frozenset(
    [
        "dump",
        "dump_modify",
        "undump",
        "restart",
        "thermo",
        "thermo_style",
        "thermo_modify",
        "log",
        "echo",
        "print",
        "info",
        "timer",
        "write_data",
        "write_dump",
        "write_restart",
        "write_coeff",
        "pair_write",
        "bond_write",
        "angle_write",
        "dihedral_write",
        "min_style",
        "min_modify",
        "reset_timestep",
        "group2ndx",
        "region2vmd",
    ]
)
REFUSED = {
    "shell": "runs other programs",
    "python": "runs Python",
    "plugin": "loads code",
    "geturl": "loads files from the net",
    "jump": "jumps about in the script",
    "label": "is a target of jumps",
    "next": "belongs to a loop",
    "if": "decides while LAMMPS runs",
    "quit": "ends LAMMPS",
    "partition": "is for several runs at once",
    "clear": "begins another model",
    "create_box": "makes the box in the script instead of a data file",
    "read_restart": "starts from a restart file; make a data file of it by write_data, which",
    "rerun": "runs over another trajectory",
}
#: By the first part of the style's name, or the whole of it.
REFUSED_FIXES = {
    "python": "runs Python",
    **dict.fromkeys(("external", "ipi", "mdi", "imd", "client"), "needs another program beside LAMMPS"),
    "plumed": "does not go on with its own files",
    "halt": "ends runs early",
    **dict.fromkeys(
        ("gcmc", "sgcmc", "deposit", "pour", "evaporate", "append/atoms", "charge/regulation"),
        "changes the number of atoms, which a trajectory's topology does not follow",
    ),
    **dict.fromkeys(
        ("bond/create", "bond/break", "bond/react", "bond/swap"),
        "changes bonds, which a trajectory's topology does not follow",
    ),
}
REFUSED_VARIABLES = {
    "python": "runs Python",
    "loop": "belongs to a loop",
    **dict.fromkeys(("world", "universe", "uloop"), "is for several runs at once"),
    "getenv": "depends on where it runs",
    **dict.fromkeys(("file", "atomfile"), "is read line by line, which begins anew after a restart file"),
}
#: Fixes with files of their own that begin anew when the run is gone on with.
OWN_FILES = ("reaxff/bonds", "reaxff/species", "colvars", "phonon", "ave/correlate/long")
#: Fixes whose keywords ``file`` and ``append`` name a file that they write.
WRITING_FIXES = re.compile(r"ave/.*|print")

SUFFIX = re.compile(r"/(gpu|intel|kk|kk/device|kk/host|omp|opt)$")
INTEGRATOR = re.compile(r"(nve|nvt|npt|nph|rigid|pimd|nphug|qbmsst|msst|brownian|bd|poems|move)(/.*)?")
THERMOSTAT = re.compile(r"(nvt|npt|langevin|gle|gld|temp|rigid/n[vp]t)(/.*)?|gjf|nve/.*langevin.*")
BAROSTAT = re.compile(r"(npt|nph|press|rigid/np[ht]|deform)(/.*)?")
CONSTRAINT = re.compile(r"(shake|rattle)(/.*)?")

#: Words of a formula that have another value in the middle of a run.
MOVING = re.compile(
    r"\b(?:step|elapsed|elaplong|time|cpu|tpcpu|spcpu|cpuremain|temp|press|pe|ke|etotal|evdwl|ecoul|epair|ebond|eangle|"
    r"edihed|eimp|emol|elong|etail|enthalpy|ecouple|econserve|vol|density|[xyz](?:lo|hi)|l[xyz]|xy|xz|yz|xlat|ylat|zlat|"
    r"cell(?:a|b|c|alpha|beta|gamma)|p[xyz]{2}|f(?:max|norm)|[cf]_\w+)\b"
    r"|\b(?:bound|xcm|vcm|fcm|ke|gyration|torque|inertia|omega|angmom|random|normal|ramp|stagger|logfreq\d?|logstep|"
    r"stride\d?|vdisplace|swiggle|cwiggle|next|count)\s*\("
)
