"""Measuring super-resolution the way papers do: exact bicubic reduction, metrics on the luma channel."""
