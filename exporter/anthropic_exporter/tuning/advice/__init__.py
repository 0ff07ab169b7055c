"""What to change to pay less: each item with its dollars a month, its formula, its data and the change to make."""
