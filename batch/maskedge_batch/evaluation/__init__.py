"""Evaluation sets: masked ones made of plain text, and minimal pairs."""
