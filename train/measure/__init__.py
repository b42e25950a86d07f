"""How good images are: metrics, features, samples and pictures."""
