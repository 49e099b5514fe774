"""The faces: ``.twopoint`` on measured curves and on analyses, plots, reports, archives and the command line."""

from .analysis import AnalysisTwoPoint, open_analysis
from .measured import MeasuredTwoPoint
from .phase_plot import phase_diagram

__all__ = ["AnalysisTwoPoint", "MeasuredTwoPoint", "open_analysis", "phase_diagram"]
