"""Whole trees of parameters: planned, made array by array, and saved."""
