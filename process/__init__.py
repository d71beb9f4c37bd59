"""What belongs to the process itself, below every other package: its threads, its
forks, and the files that it opens.
"""
