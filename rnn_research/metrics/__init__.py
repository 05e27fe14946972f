"""Measures of what models write, as papers report them."""
