"""Measures of what happens inside a cell."""
