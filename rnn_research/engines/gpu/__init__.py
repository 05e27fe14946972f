"""Whole-sequence forms for NVIDIA GPUs."""
