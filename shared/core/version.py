"""The version of Carillon, for the package, the images, the command line and each process: written here alone."""

VERSION = "0.2.0"
