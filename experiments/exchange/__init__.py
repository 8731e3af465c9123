"""Results as files for other programs: tables, arrays, and one format for all who compare."""
