"""A model directory of engine `hrn` with synthetic contents: right names, keys, shapes and topology.

It proves wiring, shapes, units, channel order, the border between stages and the ways of failing; it says
nothing about the accuracy of the real weights. Nothing imports it at run time.
"""
