"""Classifying an image by a series of glimpses."""
