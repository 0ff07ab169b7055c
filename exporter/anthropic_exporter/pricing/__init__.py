"""The price book: dated prices, and a bill for each call."""
