"""The layers of ``jaxinit.linen``."""
