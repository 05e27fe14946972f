"""Whole-sequence forms that run in parallel over time."""
