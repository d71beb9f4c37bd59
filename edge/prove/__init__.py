"""`edge doctor --prove`: what this machine's GPU is shown to do, claim by claim."""
