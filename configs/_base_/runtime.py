# Shared by all protocols: our registrations, and random draws that depend only on the seed.
custom_imports = dict(imports=["transfer.openmmlab"], allow_failed_imports=False)
custom_hooks = [dict(type="SeedIterations")]
randomness = dict(seed=0)
