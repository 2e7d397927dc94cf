"""Where the local system keeps what lasts, and what it has written down there for whoever wants to reach it.

The commands read this, so nothing that costs an import is here.
"""

import shlex
from pathlib import Path

DATA_VARIABLE = "CARILLON_DATA"
# In the repository.
DEFAULT_DATA = Path(__file__).resolve().parents[2] / "var"

# In the data folder.
ENVIRONMENT_FILE = "environment"


def read_environment(data: Path) -> dict[str, str]:
    """Return the settings of the stack that last ran on a data folder, nothing when none did."""
    try:
        lines = (data / ENVIRONMENT_FILE).read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.partition("=") for line in lines)
    return {name: "".join(shlex.split(value)) for name, _, value in pairs}
