"""From measured numbers to conductivity, activation energy and transference number, each with its error."""

from atomflow.electrochem import arrhenius_fit, ionic_conductivity, transference_number

# A membrane of 50 um between steel discs of 16 mm: resistances (ohm, with their standard errors) at four temperatures.
resistances = {298.15: (7.9, 0.2), 313.15: (5.6, 0.15), 333.15: (3.9, 0.1), 353.15: (2.7, 0.1)}
found = [ionic_conductivity(r, thickness_um=(50, 1), diameter_mm=16) for r in resistances.values()]
print(f"at 25 C: {found[0].conductivity_S_per_cm:.2e} +- {found[0].conductivity_error_S_per_cm:.1e} S/cm")

fit = arrhenius_fit(list(resistances), [c.conductivity_S_per_cm for c in found])
low, high = fit.activation_energy_ci95_eV
print(f"Ea {fit.activation_energy_eV:.3f} eV (95 %: {low:.3f} to {high:.3f}); at 40 C {fit.at(313.15).value:.2e} S/cm")

cell = transference_number(10, (12.0, 0.1), (5.5, 0.1), (210, 5), (230, 5))
print(f"t+ = {cell.transference_number:.2f} +- {cell.transference_error:.2f}")
