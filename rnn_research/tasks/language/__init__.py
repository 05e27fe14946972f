"""Language models: what a trained one can do, and its modes of the command line."""
