"""Functions whose admissible region is known in closed form; a file a form, NumPy only."""

from heflwr.automon.forms.form import Form
from heflwr.automon.forms.increasing import Increasing
from heflwr.automon.forms.moments import CoefficientOfVariation, JainFairness
from heflwr.automon.forms.quantile import Quantile
from heflwr.automon.forms.ratio import Ratio

__all__ = ["CoefficientOfVariation", "Form", "Increasing", "JainFairness", "Quantile", "Ratio"]
