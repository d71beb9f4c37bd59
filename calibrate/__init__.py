"""What is learnt from images: features, prototypes, thresholds, precision, figures."""

import cameras as cameras  # sets OpenCV's limits, before anything here imports it
