"""`python -I -m agent`: the same as `pbx-meter`."""

from agent.cli import main

main()
