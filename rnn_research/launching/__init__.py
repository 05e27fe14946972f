"""Launching: the command line, and runs in their workdirs."""
