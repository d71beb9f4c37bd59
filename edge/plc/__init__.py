"""Bridges: what a PLC talks to. Each is a module of its own, imported when it is opened."""
