"""The version of Carillon, for the package, the images' labels and ``carillon --version``: written here alone."""

VERSION = "0.2.0"
