"""A source becomes frames: webcam, network camera, video, folder."""
