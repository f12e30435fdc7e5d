"""The Python runtime's own code. Standard library only; CPython 3.11 to 3.13."""
