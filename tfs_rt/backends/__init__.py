"""One file a backend; they never import each other."""
