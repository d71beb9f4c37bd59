"""Images of one thing, told from images of different parts that look alike."""
