"""Plans, makes and saves trees of parameters, one array after another."""
