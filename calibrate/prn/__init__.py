"""PRN: prototypical residual network. All modules but `shape` need torch (extra `train`)."""
