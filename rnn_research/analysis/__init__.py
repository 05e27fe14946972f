"""Pictures, tables and texts that show people what a run did."""
