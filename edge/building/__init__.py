"""`edge build`: from good images to a bundle."""
