"""Samples on disk: how they are written, read and resumed."""
