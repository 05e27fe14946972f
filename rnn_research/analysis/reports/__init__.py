"""Reports: pictures, tables and texts that show people what a run did."""
