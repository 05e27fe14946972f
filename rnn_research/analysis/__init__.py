"""Pictures, tables and texts that show people what a run did, and measures of what happens inside a
cell."""

from rnn_research.analysis.measures.traces import Trace, trace, trace_layers

__all__ = ['Trace', 'trace', 'trace_layers']
