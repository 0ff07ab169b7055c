"""How cells travel between processes: the format of a message, and the queues that carry it."""
