"""Everything that a machine with a GPU is asked, in two commands (``__main__.py``).

Nothing here imports torch or gan_ops before it is built: each part runs in processes of its own, which end at a time
that is set before, whatever they do. Python and its standard library are enough for the commands themselves.
"""

TABLE = "--- The table ---\n"
"""What comes before it in what ``python -m benchmarks`` prints."""
