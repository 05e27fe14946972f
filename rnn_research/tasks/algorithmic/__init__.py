"""Tasks that ask for an algorithm, and for a memory to run it in."""
