"""Decoding: writing symbols with a model, drawn or searched for."""
