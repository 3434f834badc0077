"""Whether the weights of a model are what they should be, and what a signal becomes in it."""
