"""The parts of the tissue simulator, in the order they run: layout, cells, shapes, expression, optics, artifacts.

Everything here is arrays in, arrays out. Two rules keep the pixels the same on any machine: random numbers come from
named streams (:mod:`.streams`), and pixels see only `+ − × ÷ √` in float32; whatever needs an exponential or a cosine
is computed per cell in float64 and then rounded to float32, which hides the last bit in which mathematical libraries
differ.
"""
