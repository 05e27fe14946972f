"""Measures of what a model writes, as other people's papers report them."""
