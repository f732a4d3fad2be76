"""ONNX writers: waveform in, logits out, in one file. `hf_speech.inference` runs the files without PyTorch."""
