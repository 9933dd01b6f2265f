"""What frozen features are worth, and where they come from."""
