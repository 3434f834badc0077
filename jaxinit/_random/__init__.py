"""Random arrays: a key gives random bits, and these give values of a distribution."""
