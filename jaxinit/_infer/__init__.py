"""What each parameter of a model is for, read from the model's own computation."""
