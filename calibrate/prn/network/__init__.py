"""The network of PRN; needs torch."""
