"""What a study writes for people: tables, figures and a single-file HTML report that works offline."""

from atomflow.report.content import BarChart, Column, Curve, LineChart, Reference, Report, Table, View
from atomflow.report.html import write_report
from atomflow.report.outcome import Outcome, write_outcome

__all__ = [
    "BarChart",
    "Column",
    "Curve",
    "LineChart",
    "Outcome",
    "Reference",
    "Report",
    "Table",
    "View",
    "write_outcome",
    "write_report",
]
