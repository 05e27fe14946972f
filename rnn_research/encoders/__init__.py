"""Encoders: what turns an input into a memory, a summary and perhaps first states."""
