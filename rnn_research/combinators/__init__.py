"""Combinators: functions from cells to a cell, which change its weights or put layers on top of
each other."""
