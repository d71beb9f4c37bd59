"""ONNX graph in, scores out: one protocol over TensorRT, OpenVINO and ONNX Runtime."""
