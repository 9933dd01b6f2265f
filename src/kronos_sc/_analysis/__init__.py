"""What analyses share: the driver of a verb, cross-validation, probes, partitions, alignment of panels, cases.

Tables in, arrays between, no images.
"""
