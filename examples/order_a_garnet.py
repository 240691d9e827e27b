"""Order LALZO and write the lowest orderings, to be ranked again by a better calculator of yours."""

from atomflow.build import order

found = order("LALZO", seeds=3, sweeps=2000, keep=3)
print(f"{found.formula}: {found.hits} of {found.seeds} searches ended in the same lowest ordering")
for model in found.models:
    lithium = model.atoms[model.atoms.symbols == "Li"]
    tetrahedral = sum(lithium.arrays["wyckoff"] == "24d")
    print(f"{model.name}: {model.above_lowest_meV_per_atom:.1f} meV/atom, {tetrahedral} of {len(lithium)} Li on 24d")
