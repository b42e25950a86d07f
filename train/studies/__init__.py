"""Comparisons that train many runs and can be continued."""
