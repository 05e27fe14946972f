"""Images drawn in steps."""
