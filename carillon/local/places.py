"""The folder for everything of the local system that lasts, and the variable that names another one."""

from pathlib import Path

DATA_VARIABLE = "CARILLON_DATA"
# In the repository.
DEFAULT_DATA = Path(__file__).resolve().parents[2] / "var"
