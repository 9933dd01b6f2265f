"""What else can be read off a network: attention, the effect of a marker, classes of tokens."""
