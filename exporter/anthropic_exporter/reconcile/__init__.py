"""Compares recorded usage with Anthropic's bill: by model, tier, token type and hour, tokens first, then dollars."""
