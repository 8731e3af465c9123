"""The columns that runs are judged by, which need no statistics."""

__all__ = ["MEASURES"]

MEASURES = {"charts/episodic_return": "return", "charts/online_accuracy": "accuracy"}
"""Columns of metrics.csv, the first that is recorded, and their names in tables."""
