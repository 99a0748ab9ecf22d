"""`mlm`: all that needs typer, rich, prompt_toolkit or matplotlib."""
