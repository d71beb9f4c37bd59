"""The command `edge`: what parses and prints."""
