"""Statistics over runs: scores of visits, continual metrics, intervals, comparisons in pairs."""
