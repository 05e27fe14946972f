"""Sequence to sequence: encoder, decoders, the model of both, and translation of texts."""
