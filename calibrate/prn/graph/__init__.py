"""From a trained network to ONNX; needs torch."""
