# What every protocol shares: our registrations, and draws that follow from the seed alone.
custom_imports = dict(imports=["transfer.openmmlab"], allow_failed_imports=False)
custom_hooks = [dict(type="SeedIterations")]
randomness = dict(seed=0)
