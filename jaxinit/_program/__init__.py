"""What JAX traces of a function, as a small graph of operations that can be read and run again."""
