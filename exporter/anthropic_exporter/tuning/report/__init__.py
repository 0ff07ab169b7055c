"""The weekly report: one self-contained page, for people who do not read metrics."""
