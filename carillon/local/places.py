"""Where everything that lasts of the local system is kept, and what names another folder."""

from pathlib import Path

DATA_VARIABLE = "CARILLON_DATA"
# In the repository.
DEFAULT_DATA = Path(__file__).resolve().parents[2] / "var"
