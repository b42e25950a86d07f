"""Network families, one file each, built from :mod:`gan_ops.nn`."""
