"""The initializers: options that are checked once, and the arrays they make."""
