"""One file a command: the first line of its docstring is what help says of it, `register(app)` adds it to typer."""
