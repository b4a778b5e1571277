"""Identity of runs, leases, records, per-image results, merging and importing."""
