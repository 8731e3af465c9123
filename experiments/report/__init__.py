"""Reports of many runs: tables, figures, pages, the lens and predictive validity."""
