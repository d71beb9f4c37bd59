"""What belongs to the process itself, below all packages: threads, forks, files it opens."""
