"""Whole-sequence forms of recurrences: the same function as stepping, faster."""
