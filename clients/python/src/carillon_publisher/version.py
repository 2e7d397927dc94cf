"""The version of this package, which is that of Carillon."""

VERSION = "0.2.0"
