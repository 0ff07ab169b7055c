"""What was recorded beside what Anthropic billed: by model, tier, token type and hour, tokens first, then dollars."""
