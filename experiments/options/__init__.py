"""Options of runs and comparisons: their fields, checks, presets and tuned strengths; arms."""
