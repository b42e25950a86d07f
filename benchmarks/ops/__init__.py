"""The races of single ops: a file a family, all of the same form (family.py)."""
