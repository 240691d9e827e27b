"""A model as a picture: atoms as balls, seen from a corner, with its cell."""

from __future__ import annotations

import io

import numpy as np
from ase import Atoms

#: Turns of the model: bulk and particles from a corner, slabs from the side, their normal upwards.
_CORNER, _SIDE = "10x,-20y,0z", "-90x,0y,0z"


def picture(atoms: Atoms, title: str = "") -> bytes:
    """PNG of a model.

    Parameters
    ----------
    atoms : Atoms
        Large ones are drawn as they are; nothing is repeated.
    title : str
    """
    import matplotlib.pyplot as plt
    from ase.data.colors import jmol_colors
    from ase.visualize.plot import plot_atoms
    from matplotlib.lines import Line2D

    side = bool(atoms.pbc[0] and not atoms.pbc[2])
    figure, axes = plt.subplots(figsize=(6.4, 6.0), dpi=150)
    try:
        drawn = atoms.copy()
        if side:
            # Without most of its vacuum, which says nothing.
            height = drawn.positions[:, 2]
            drawn.cell[2, 2] = np.ptp(height) + 4.0
            drawn.positions[:, 2] += 2.0 - height.min()
        plot_atoms(
            drawn, axes, rotation=_SIDE if side else _CORNER, radii=0.45, show_unit_cell=2 if drawn.cell.rank else 0
        )
        axes.set_axis_off()
        axes.set_title(title, fontsize=11)
        kinds = list(dict.fromkeys(zip(atoms.get_chemical_symbols(), atoms.numbers, strict=True)))
        marks = [
            Line2D(
                [],
                [],
                marker="o",
                linestyle="",
                markersize=9,
                markeredgecolor="black",
                label=symbol,
                color=jmol_colors[number],
            )
            for symbol, number in kinds
        ]
        axes.legend(handles=marks, loc="lower center", bbox_to_anchor=(0.5, -0.09), ncols=len(marks), frameon=False)
        text = io.BytesIO()
        figure.savefig(text, format="png", bbox_inches="tight", metadata={"Software": "atomflow"})
        return text.getvalue()
    finally:
        plt.close(figure)
