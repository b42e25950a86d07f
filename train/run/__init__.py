"""From a command line to a finished run in its folder."""
