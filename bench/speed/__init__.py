"""The cost of recording, of a scrape, of the rules, beside peers."""
