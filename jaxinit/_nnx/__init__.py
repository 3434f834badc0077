"""The layers of ``jaxinit.nnx``."""
