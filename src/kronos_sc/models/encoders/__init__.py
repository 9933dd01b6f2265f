"""Networks behind the interface of every encoder, and the baselines that need none."""
