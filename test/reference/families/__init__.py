"""One file per family of modules; each has a list CASES."""
