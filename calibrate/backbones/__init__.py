"""Feature extractors as ONNX files with named stage outputs; the only home of torch beside PRN."""
