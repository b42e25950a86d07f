"""The two-player game that most systems are: its options, losses, conditioning."""
