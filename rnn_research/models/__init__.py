"""Models: cells with what their inputs and outputs need."""
