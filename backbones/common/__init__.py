"""What every part uses: errors, files, hashes, versions, hardware."""
