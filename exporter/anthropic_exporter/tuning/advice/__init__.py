"""Advises what to change to pay less: each item has its dollars a month, its formula, its data and the change."""
