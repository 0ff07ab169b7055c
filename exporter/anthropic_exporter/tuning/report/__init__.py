"""The weekly report: one page without any other file, for people who do not read metrics."""
