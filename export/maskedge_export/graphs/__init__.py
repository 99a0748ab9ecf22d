"""PyTorch modules -> ONNX graphs."""
