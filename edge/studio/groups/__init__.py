"""The groups of pages, a module each."""
