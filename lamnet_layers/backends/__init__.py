"""Implementations of the focal aggregation, one a file."""
