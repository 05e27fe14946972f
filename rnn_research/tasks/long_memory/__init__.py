"""Tasks of long memory and of state tracking."""
