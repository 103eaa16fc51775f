"""`python3 dev.py simulate`."""

from tests.simulation.command import main

main()
