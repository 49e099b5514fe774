"""The faces: ``.twopoint`` and ``.laws`` on measured curves and on analyses, plots, reports, archives and the command line."""

from .analysis import AnalysisTwoPoint, open_analysis
from .laws import AnalysisLaws, MeasuredLaws
from .measured import MeasuredTwoPoint
from .phase_plot import phase_diagram

__all__ = ["AnalysisLaws", "AnalysisTwoPoint", "MeasuredLaws", "MeasuredTwoPoint", "open_analysis", "phase_diagram"]
