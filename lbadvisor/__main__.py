"""`python -m lbadvisor` is `lbadvisor`."""

from lbadvisor.cli.app import main

if __name__ == "__main__":
    main()
