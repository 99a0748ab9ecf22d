"""All that needs typer and rich; the only place that prints and exits."""
