"""From an fp32 graph to fp16 or int8, and how far that may go."""
