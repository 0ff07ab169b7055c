"""The Guards of the processes of one service as one: one process judges, all obey."""
