"""Defects that are drawn into good images, or taken from real ones."""
