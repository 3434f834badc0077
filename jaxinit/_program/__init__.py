"""Records what a JAX function computes, as a graph of operations that can be read and re-run."""
