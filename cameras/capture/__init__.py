"""A camera read in a process of its own."""
