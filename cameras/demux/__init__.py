"""Coded video, from a network or a file, becomes pictures of which it is known what is wrong."""
