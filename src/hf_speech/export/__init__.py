"""Models as ONNX files: from the waveform to the logits in one file, without PyTorch on the machine that runs it.

Two sides that do not know each other: `exporting` and what it stands on write the files, with PyTorch and onnx;
`runtime` and `streaming` run them, with onnxruntime and NumPy alone. So nothing is imported here.
"""
