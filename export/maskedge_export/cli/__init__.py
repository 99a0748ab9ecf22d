"""`mlm-export`: all that needs typer and rich, and the only place that prints and exits."""
