"""TensorRT plans: compiled, proven, cached."""
