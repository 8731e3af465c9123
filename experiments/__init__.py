"""Experiments: run folders, recording, checkpoints, continual metrics and reports."""
