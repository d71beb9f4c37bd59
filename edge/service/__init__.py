"""What a command that runs for months has: supervision, metrics, the page."""
