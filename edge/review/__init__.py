"""What a station has seen and kept, in one place: looked through, marked, and handed on."""
