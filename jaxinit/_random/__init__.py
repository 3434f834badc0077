"""Random numbers: from a key to words, to values of a distribution, to arrays."""
