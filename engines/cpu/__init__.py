"""Engines that run on a CPU."""
