"""One file for each kind of camera."""
