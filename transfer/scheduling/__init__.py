"""Many runs: processes on this machine, Ray elsewhere."""
