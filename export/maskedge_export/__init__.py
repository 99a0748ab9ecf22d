"""From a Hugging Face checkpoint to a verified bundle: export, quantization, the proof, training and adaptation."""
