"""Memories that a cell reads and writes."""
