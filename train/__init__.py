"""Training programs and the parts they share; run from the checkout."""
