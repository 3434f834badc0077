"""Choosing: from an activation function to the initializer that suits it."""
