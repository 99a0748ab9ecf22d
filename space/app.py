"""A Hugging Face Space that serves maskedge's demo."""

import os
import sys

from maskedge.__main__ import main

MODELS: list[str] = []
"""Bundles on the Hub, such as `org/name`, or directories beside this file; the bundled model where there are none."""

host = os.environ.get("GRADIO_SERVER_NAME", "0.0.0.0")  # noqa: S104  a Space's own proxy stands before it
port = os.environ.get("GRADIO_SERVER_PORT", "7860")
models = [part for model in MODELS for part in ("--model", model)]
sys.argv = ["mlm", "demo", "--host", host, "--port", port, *models]
main()
