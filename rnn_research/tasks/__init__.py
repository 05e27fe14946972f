"""Tasks: what one experiment needs beyond its file in `experiments/`, a folder each."""
