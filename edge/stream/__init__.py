"""`edge stream`: cameras, their loop, and triggers."""
