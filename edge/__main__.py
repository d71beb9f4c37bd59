"""`python -m edge`: the command, where its script is not on the path."""

from edge.cli.main import main

if __name__ == "__main__":
    main()
