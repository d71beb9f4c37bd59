"""A drawn production line: machined flanges on a conveyor belt, sound and defective."""

from edge.demo.conveyor import draw_conveyor
from edge.demo.defects import DEFECTS
from edge.demo.scene import draw_part
from edge.demo.stills import draw_dataset

__all__ = ["DEFECTS", "draw_conveyor", "draw_dataset", "draw_part"]
