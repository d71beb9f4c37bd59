"""Whether a picture can be judged at all."""
