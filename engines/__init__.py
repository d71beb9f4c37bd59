"""ONNX graph in, scores out: one protocol over TensorRT, TensorRT-RTX, OpenVINO and ONNX Runtime."""
