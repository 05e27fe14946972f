"""Convolutional networks with public weights: what turns pictures into maps of features."""
