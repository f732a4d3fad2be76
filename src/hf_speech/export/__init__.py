"""Exports models as ONNX files from waveform to logits, and keyword spotters as C source."""
