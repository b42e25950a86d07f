"""Plays any game: roles, moves, steps, phases; it knows no generator, no discriminator and no norm."""
