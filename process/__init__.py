"""What belongs to the process itself, below every other package: its threads, and its forks."""
