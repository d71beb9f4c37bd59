"""An inspector: a bundle, an engine, and the rules that make a verdict."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from calibrate.images import fit_image
from cameras.connect import open_source
from cameras.errors import ImageError
from cameras.frame import Frame
from cameras.source import frame_now
from edge import console
from edge.health.checks import ImageChecks
from edge.health.frame_checker import FrameChecker
from edge.health.measurements import ImageStatsReader
from edge.inspection.deadline import DeadlineRunner
        return Inspector(
            bundle, settings=settings, engine=engine, say=console.say, progress=progress
