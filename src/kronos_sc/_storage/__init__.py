"""Bytes on disk: chunks decoded, files written whole, one writer at a time."""
