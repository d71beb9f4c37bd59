"""Which nodes of a graph must compute in float32, whatever the precision of the rest."""

EXACT = "exact/"
"""How their names begin. The precision stage leaves them alone, and so does an engine that may
otherwise choose a cheaper arithmetic."""
