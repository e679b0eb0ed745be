"""The drawings of the documentation, made by the library that they explain."""
