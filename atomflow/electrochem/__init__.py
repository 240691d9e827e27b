"""The measurement side: numbers that experiments give, with errors. Plain functions and frozen results."""

from atomflow.electrochem.arrhenius import Arrhenius, ArrheniusValue, arrhenius_fit
from atomflow.electrochem.gitt import Gitt, PulseSlope, effective_length_um, gitt_full, gitt_simplified, pulse_slope
from atomflow.electrochem.impedance import Conductivity, SpectrumResistance, ionic_conductivity, spectrum_resistance
from atomflow.electrochem.measured import Measured
from atomflow.electrochem.tafel import ExchangeCurrent, exchange_current_linear, exchange_current_tafel
from atomflow.electrochem.transference import Transference, transference_number

__all__ = [
    "Arrhenius",
    "ArrheniusValue",
    "Conductivity",
    "ExchangeCurrent",
    "Gitt",
    "Measured",
    "PulseSlope",
    "SpectrumResistance",
    "Transference",
    "arrhenius_fit",
    "effective_length_um",
    "exchange_current_linear",
    "exchange_current_tafel",
    "gitt_full",
    "gitt_simplified",
    "ionic_conductivity",
    "pulse_slope",
    "spectrum_resistance",
    "transference_number",
]
