"""The version of Carillon as the command line says it; it is written in ``shared.core.version``."""

from shared.core.version import VERSION

__all__ = ["VERSION"]
