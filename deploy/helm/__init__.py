"""The chart of Carillon, and Helm to check it with."""
