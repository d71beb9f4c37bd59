"""ONNX graph in, scores out: one protocol over TensorRT, OpenVINO and ONNX Runtime."""

import os

# Before anything imports ONNX Runtime: from 1.32 on its import alone starts an uploader of usage
# reports and leaves an identifier in the home folder, and its own switch comes too late for that.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
