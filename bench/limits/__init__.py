"""What the library takes from its process at most."""
