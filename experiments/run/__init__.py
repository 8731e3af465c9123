"""One run: its stream, the loop that trains it, and its folder with metrics and checkpoints."""
