"""A drawn production line: machined flanges on a conveyor belt, sound and defective."""

from edge.line.conveyor import FPS, STORY, FrameTruth, conveyor_frames, draw_conveyor
from edge.line.defects import DEFECTS
from edge.line.scene import draw_part
from edge.line.stills import draw_dataset

__all__ = [
    "DEFECTS",
    "FPS",
    "STORY",
    "FrameTruth",
    "conveyor_frames",
    "draw_conveyor",
    "draw_dataset",
    "draw_part",
]
