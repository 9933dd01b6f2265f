"""The mathematics of the analyses: arrays in, arrays out; nothing here knows what an AnnData is."""
