"""`python -m gpu_workers.engines.hrn.synthetic DIR` writes the directory."""

import argparse
from pathlib import Path

from gpu_workers.engines.hrn.synthetic.make import make_model_directory


def main() -> None:
    """Write the directory that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    make_model_directory(parser.parse_args().folder)


if __name__ == "__main__":
    main()
