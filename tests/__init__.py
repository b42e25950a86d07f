"""A package, so that one of the same name in site-packages (torch-fidelity brings it) does not take its place."""
