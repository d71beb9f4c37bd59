"""A source becomes frames: webcam, network camera, video, folder."""

from cameras.decoding.limits import limit_opencv

# Before anything imports OpenCV, which reads its limits once; a program that has imported it
# before keeps its own, and every picture is measured before OpenCV sees it.
limit_opencv()
