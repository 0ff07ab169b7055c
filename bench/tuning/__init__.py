"""Measures what `review`, `calibrate` and `backtest` promise."""
