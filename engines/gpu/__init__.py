"""The engine that runs on an NVIDIA GPU, and its memory."""
