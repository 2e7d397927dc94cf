"""Finds what an overlay or a chart's values still have from the example."""
