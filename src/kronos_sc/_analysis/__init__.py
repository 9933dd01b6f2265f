"""What analyses share: cross-validation, probes, partitions, alignment of panels, cases.

Tables in, arrays between, no images.
"""
