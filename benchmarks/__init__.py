"""Benchmarks: jaxinit next to jax.nn.initializers and the limit, in one run."""
