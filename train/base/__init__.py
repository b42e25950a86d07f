"""What every other room uses: errors, files, devices, seeds."""
