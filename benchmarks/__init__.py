"""Questions about kokugen's speed, one a file, and what they share. `run.py` asks them all."""
