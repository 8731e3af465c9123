"""Stable-Baselines3: its agents on our streams, our callbacks and environments for its agents."""
