"""The faces: ``.twopoint`` on measured curves and on analyses, plots, reports, archives and the command line."""

from .analysis import AnalysisTwoPoint, open_analysis
from .measured import MeasuredTwoPoint

__all__ = ["AnalysisTwoPoint", "MeasuredTwoPoint", "open_analysis"]
