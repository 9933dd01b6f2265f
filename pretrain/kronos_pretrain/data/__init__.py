"""Samples: reading, drawing, cropping, masking; torch and numpy alone."""
