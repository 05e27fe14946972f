"""Gradient flow: what its report measures, draws and says, and a demonstration of clipping."""
